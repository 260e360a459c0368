"""Heat maps: the class activation map by its formula, and patches that decide the class."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.server.explaining import networks
from tests.server.explaining.networks import PATCH, PATCH_SIDE

from covey_server.explaining import heat
from covey_server.explaining.heat import HeatMap
from covey_server.explaining.inside import Inside
from covey_server.inference.served_model import ServedModel

Open = Callable[[str], tuple[ServedModel, Inside]]
GREY = [127.5] * 3
RED, GREEN = (255, 0, 0), (0, 255, 0)


@pytest.mark.parametrize("name", ["residual", "imported", "detector-mean"])
def test_the_class_activation_map_is_the_networks_own_sum(open_model: Open, name: str) -> None:
    model, inside = open_model(name)
    pixels = networks.images(1, model.input_shape)
    head = heat.find_head(inside, len(model.labels))
    assert head is not None
    assert head.weights is not None
    names = [head.maps.output, head.scores.output, head.weights.weight, head.weights.bias]
    maps, scores, weights, bias = (inside.run(pixels, names)[each] for each in names)
    weights = weights if head.weights.node.attributes.get("transB") else weights.T
    for index in range(len(model.labels)):
        found = heat.class_activation(inside, head, pixels, index)
        assert found is not None
        assert found.exact
        expected = sum(weight * plane for weight, plane in zip(weights[index], maps[0], strict=True))
        np.testing.assert_allclose(found.values, expected, rtol=1e-4, atol=1e-5)
        assert float(found.values.mean()) + bias[index] == pytest.approx(scores[0, index], rel=1e-4, abs=1e-4)
        assert found.score == pytest.approx(scores[0, index])


@pytest.mark.parametrize("name", ["plain", "detector-max"])
def test_other_heads_have_no_class_activation_map(open_model: Open, name: str) -> None:
    model, inside = open_model(name)
    assert heat.find_head(inside, len(model.labels)) is None


def planted(seed: int, colour: tuple[int, int, int], row: int, column: int) -> NDArray[np.uint8]:
    """Grey noise with a patch whose colour decides the class."""
    image = np.random.default_rng(seed).integers(100, 156, (1, PATCH_SIDE, PATCH_SIDE, 3), dtype=np.uint8)
    image[0, row : row + PATCH, column : column + PATCH] = colour
    return image


def peak(found: HeatMap) -> tuple[float, float]:
    """The row and column of the image in the middle of the strongest place."""
    row, column = np.unravel_index(found.values.argmax(), found.values.shape)
    height, width = found.values.shape
    return (float(row) + 0.5) * PATCH_SIDE / height, (float(column) + 0.5) * PATCH_SIDE / width


@pytest.mark.parametrize(("name", "method"), [
    ("detector-mean", "class_activation"), ("detector-mean", "occlusion"), ("detector-max", "occlusion"),
])  # fmt: skip
@pytest.mark.parametrize(("index", "colour"), [(1, RED), (2, GREEN)])
def test_the_peak_lies_on_the_patch_that_decides_the_class(
    open_model: Open, name: str, method: str, index: int, colour: tuple[int, int, int]
) -> None:
    model, inside = open_model(name)
    chance = np.random.default_rng(index)
    for seed in range(20):
        row, column = (int(place) for place in chance.integers(0, PATCH_SIDE - PATCH, 2))
        image = planted(seed, colour, row, column)
        assert model.run(image)[0].argmax() == index
        if method == "occlusion":
            found = heat.occlusion(model.run, image, index, GREY)
        else:
            head = heat.find_head(inside, 3)
            assert head is not None
            made = heat.class_activation(inside, head, image, index)
            assert made is not None
            found = made
        y, x = peak(found)
        assert row <= y <= row + PATCH, (seed, row, y)
        assert column <= x <= column + PATCH, (seed, column, x)


def test_a_patch_of_another_class_speaks_against_a_class(open_model: Open) -> None:
    model, _ = open_model("detector-max")
    image = planted(0, RED, 5, 5)
    image[0, 28 : 28 + PATCH, 28 : 28 + PATCH] = GREEN
    found = heat.occlusion(model.run, image, 1, GREY)
    y, x = (int(place) for place in peak(found))
    assert 5 <= y <= 10
    assert 5 <= x <= 10
    lowest = np.unravel_index(found.values.argmin(), found.values.shape)
    assert all(28 <= (place + 0.5) * PATCH_SIDE / heat.CELLS <= 33 for place in lowest)


def test_occlusion_counts_what_it_runs_and_ends_with_what_its_runs_raise(open_model: Open) -> None:
    model, _ = open_model("detector-max")
    image = planted(1, RED, 5, 5)
    sizes: list[int] = []

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        sizes.append(len(images))
        return model.run(images)

    found = heat.occlusion(run, image, 1, GREY, batch=7)
    assert found.images == sum(sizes)
    assert max(sizes) == 7
    whole = heat.occlusion(model.run, image, 1, GREY)
    np.testing.assert_allclose(whole.values, found.values, atol=1e-5)

    def fails(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        heat.occlusion(fails, image, 1, GREY)


def test_odd_shapes_are_covered_in_whole(open_model: Open) -> None:
    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        own = images.reshape(len(images), -1).mean(axis=1) / 255
        return np.stack([own, 1 - own], axis=1).astype(np.float32)

    for height, width in ((1, 30), (3, 5), (17, 100)):
        image = np.full((1, height, width, 1), 200, np.uint8)
        found = heat.occlusion(run, image, 0, [0.0])
        assert np.isfinite(found.values).all()
        assert (found.values > 0).all()
