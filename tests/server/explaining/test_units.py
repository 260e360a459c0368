"""What one unit computes, against the engine's own value; and where it looks, by changing pixels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.server.explaining import networks

from covey_server.errors import InvalidRequest
from covey_server.explaining import receptive_field, units
from covey_server.explaining.inside import Inside
from covey_server.explaining.layers import Layer
from covey_server.explaining.units import Place, Unit
from covey_server.inference.served_model import ServedModel

Open = Callable[[str], tuple[ServedModel, Inside]]
TOLERANCE = 1e-5  # of the sum of the terms' absolute values: float32 against float64


def places(inside: Inside, each: int, seed: int = 7) -> list[Place]:
    """Random places of all layers that have units."""
    chance = np.random.default_rng(seed)
    found = []
    for layer in inside.layers:
        if units.can_explain(inside, layer):
            sizes = (*inside.shapes[layer.index], 1, 1)[:3]
            found += [Place(layer.index, *(int(chance.integers(size)) for size in sizes)) for _ in range(each)]
    return found


def magnitude(unit: Unit) -> float:
    return float(np.abs(unit.products).sum()) + abs(unit.bias) + 1e-3


@pytest.mark.parametrize("name", ["plain", "residual", "imported"])
def test_the_arithmetic_is_the_engines(open_model: Open, name: str) -> None:
    model, inside = open_model(name)
    pixels = networks.images(1, model.input_shape)
    asked = places(inside, 12)
    operations = set()
    for place in asked:
        unit = units.explain(inside, pixels, place)
        operations.add(unit.operation)
        assert abs(unit.result - unit.engine_value) <= TOLERANCE * magnitude(unit), (place, unit)
        if unit.operation == "sum":
            assert unit.result == pytest.approx(float(unit.products.sum()) + unit.bias)
    assert operations >= {"sum", "mean", "function"}


@pytest.mark.parametrize(("name", "tolerance"), [("quantized", 1e-4), ("half", 2e-3)])  # the engine rounds biases too
def test_it_is_so_for_quantized_and_half_precision_networks(open_model: Open, name: str, tolerance: float) -> None:
    model, inside = open_model(name)
    pixels = networks.images(1, model.input_shape)
    kinds = [layer.kind for layer in inside.layers]
    assert kinds[:2] == ["input", "convolution"]
    assert inside.layers[1].parameters == 6 * 27 + 6
    for place in places(inside, 12):
        unit = units.explain(inside, pixels, place)
        assert abs(unit.result - unit.engine_value) <= tolerance * magnitude(unit), (place, unit)
    found = inside.run(pixels, ["probabilities"])["probabilities"]
    np.testing.assert_allclose(found, model.run(pixels), atol=0.02)  # served in whole numbers, or fused


def test_the_numbers_are_those_of_kernel_and_image(open_model: Open) -> None:
    """A convolution with a stride, padding and the next layers, number by number."""
    model, inside = open_model("residual")
    pixels = networks.images(1, model.input_shape)
    (stem,) = [each.index for each in inside.layers if each.output == "stem"]
    found = inside.run(pixels, ["input", "stem", "stem_relu", "pooled", "stem.weight", "stem.bias"])
    unit = units.explain(inside, pixels, Place(stem, 4, 1, 0))
    assert (unit.rows, unit.columns, unit.first_channel) == ([-1, 0, 1, 2, 3, 4, 5], [-2, -1, 0, 1, 2], 0)
    assert unit.weights is not None
    np.testing.assert_array_equal(unit.weights, found["stem.weight"][4])
    np.testing.assert_array_equal(unit.inputs[:, 1:, 2:], found["input"][0][:, :6, :3])
    assert not unit.inputs[:, 0].any()
    assert not unit.inputs[:, :, :2].any()
    assert unit.bias == found["stem.bias"][4]
    assert unit.receptive_field == (0, 0, 6, 3)
    relu, pool = unit.next
    assert relu.value == found["stem_relu"][0, 4, 1, 0] == max(0, unit.engine_value)
    assert (pool.place.y, pool.place.x) == (1, 0)
    np.testing.assert_array_equal(pool.inputs, found["stem_relu"][0, 4, 1:4, 0:2])
    assert pool.value == found["pooled"][0, 4, 1, 0] == pool.inputs.max()


def test_what_becomes_of_a_score_is_its_class_probability(open_model: Open) -> None:
    model, inside = open_model("plain")
    pixels = networks.images(1, model.input_shape)
    softmax = inside.layers[-1]
    assert softmax.kind == "softmax"
    unit = units.explain(inside, pixels, Place(softmax.inputs[0], 2, 0, 0))
    (step,) = unit.next
    assert (step.place.layer, step.place.channel) == (softmax.index, 2)
    assert step.inputs[0, 2] == np.float32(unit.engine_value)
    shares = np.exp(step.inputs[0].astype(np.float64))
    assert step.value == pytest.approx(shares[2] / shares.sum(), rel=1e-5)
    assert step.value == pytest.approx(model.run(pixels)[0, 2], rel=1e-5)


@pytest.mark.parametrize("name", ["plain", "residual"])
def test_pixels_outside_the_receptive_field_change_nothing_and_those_inside_do(open_model: Open, name: str) -> None:
    model, inside = open_model(name)
    chance = np.random.default_rng(11)
    pixels = networks.images(1, model.input_shape)
    for place in places(inside, 3):
        layer = inside.layers[place.layer]
        top, left, bottom, right = receptive_field.find(inside.layers, inside.shapes, layer.index, place.y, place.x)
        inner = np.zeros(pixels.shape[1:3], bool)
        inner[top:bottom, left:right] = True

        def value(image: NDArray[np.uint8], layer: Layer = layer, place: Place = place) -> float:
            found = inside.answer(layer, inside.run(image, [layer.output])[layer.output])
            return float(found[place.channel, place.y, place.x] if found.ndim == 3 else found[place.channel])

        others = np.where(inner[None, :, :, None], pixels, chance.integers(0, 256, pixels.shape, dtype=np.uint8))
        assert value(others) == pytest.approx(value(pixels), abs=1e-5)
        if layer.inputs == (0,):  # behind others, what changes may meet a ReLU that lets nothing through
            own = np.where(inner[None, :, :, None], chance.integers(0, 256, pixels.shape, dtype=np.uint8), pixels)
            assert value(own) != value(pixels)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (Place(99, 0, 0, 0), "layer is 99; expected 0 to 11"),
        (Place(0, 0, 0, 0), r"layer 0 \(input, input\) has no units"),
        (Place(1, 6, 0, 0), r"channel is 6; expected 0 to 5 in layer 1 \(conv1\) of the shape 6 x 16 x 14"),
        (Place(1, 0, 16, 0), "y is 16; expected 0 to 15"),
        (Place(1, 0, 0, 14), "x is 14; expected 0 to 13"),
        (Place(8, 3, 1, 0), "y is 1; expected 0 to 0"),
    ],
)
def test_places_that_are_not_there_are_refused(open_model: Open, place: Place, text: str) -> None:
    model, inside = open_model("plain")
    with pytest.raises(InvalidRequest, match=text):
        units.explain(inside, networks.images(1, model.input_shape), place)
