"""`explain` of both clients, and `covey explain`, against a real server."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.server.conftest import Server, running_servers
from tests.server.explaining import networks

import covey
from covey.cli import heat_picture, main

PIXELS = networks.images(1)[0]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("sdk-explain")
    networks.plain(folder)
    networks.residual(folder)
    with running_servers("native") as start:
        yield start(folder, default_model="plain")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    Image.fromarray(PIXELS).save(path)
    return path


def test_arrays_come_back(server: Server, picture: Path) -> None:
    with covey.Client(server.target) as client:
        found = client.explain(picture, model="residual", maps=True, unit=(1, 4, 1, 0))
        classified = client.classify(picture, model="residual")
    np.testing.assert_array_equal(found.image, PIXELS)
    assert found.classes[0].label == classified.label
    assert [layer.shape for layer in found.layers][:2] == [(3, 20, 18), (8, 10, 18)]
    assert found.layers[1].kind == "convolution"
    heat_map, unit = found.heat_map, found.unit
    assert heat_map is not None
    assert heat_map.exact
    assert heat_map.values.shape == (5, 9)
    assert float(heat_map.values.mean()) + heat_map.bias == pytest.approx(heat_map.score, abs=1e-4)
    assert unit is not None
    assert unit.products.shape == unit.inputs.shape == (3, 7, 5)
    assert float(unit.products.sum()) + unit.bias == pytest.approx(unit.engine_value, abs=1e-4)
    maps = {each.layer: each for each in found.maps}
    assert maps[1].values.shape == (8, 10, 18)
    assert maps[unit.layer].values[4, 1, 0] == pytest.approx(unit.engine_value, abs=1e-5)
    assert unit.next[0].inputs.shape == (1, 1)


def test_what_is_asked_for_is_sent(server: Server) -> None:
    with covey.Client(server.target) as client:
        found = client.explain(PIXELS, heat_map=False, maps=[1, 3], map_channels=2, map_side=4)
        assert found.heat_map is None
        assert [each.values.shape for each in found.maps] == [(2, 4, 4), (2, 4, 4)]
        covered = client.explain(PIXELS, class_index=3, method="occlusion").heat_map
        assert covered is not None
        assert (covered.class_index, covered.label, covered.method) == (3, "class 3", "occlusion")
        with pytest.raises(covey.InvalidRequest, match="layer is 99"):
            client.explain(PIXELS, unit=(99, 0, 0, 0))
        with pytest.raises(covey.InvalidInput, match="one image is explained at a time"):
            client.explain([PIXELS])  # type: ignore[arg-type]
        cannot: tuple[dict[str, Any], ...] = (
            {"maps": []}, {"unit": (1, 2, 3)}, {"class_index": -1}, {"model": 3},
        )  # fmt: skip
        for wrong in cannot:
            with pytest.raises(covey.InvalidInput, match="cannot be sent"):
                client.explain(PIXELS, **wrong)


def test_the_asynchronous_client_answers_the_same(server: Server) -> None:
    async def ask() -> covey.Explanation:
        async with covey.AsyncClient(server.target) as client:
            return await client.explain(PIXELS)

    found = asyncio.run(ask())
    with covey.Client(server.target) as client:
        other = client.explain(PIXELS)
    assert found.heat_map is not None
    assert other.heat_map is not None
    np.testing.assert_array_equal(found.heat_map.values, other.heat_map.values)


def test_the_command_prints_layers_and_writes_a_picture(
    server: Server, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "heat.png"
    assert main(["explain", str(picture), "--out", str(out), "--target", server.target, "--label", "class 2"]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[2].split()[:7] == ["1", "conv1", "convolution", "6", "x", "16", "x"]
    assert f"wrote {out}: what speaks for 'class 2' (red) and against it (blue), by occlusion" in printed
    with Image.open(out) as drawn:
        assert (drawn.mode, drawn.size) == ("RGB", (18 * 23, 20 * 23))


def test_the_command_says_what_is_wrong(
    server: Server, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["explain", str(picture), "--target", server.target]
    assert main(asked) == 0
    assert "wrote" not in capsys.readouterr().out
    for more, code, text in (
        (["--label", "cat", "--out", "x.png"], 2, "no class has the label 'cat'"),
        (["--out", str(tmp_path / "none" / "heat.png")], 2, "cannot be written"),
        (["--model", "nobody"], 2, "model 'nobody' is not served"),
        (["--method", "magic", "--out", str(tmp_path / "heat.png")], 2, "heat_map.method is 'magic'"),
    ):
        assert main([*asked, *more]) == code
        assert text in capsys.readouterr().err


def test_a_picture_is_the_image_where_the_map_is_nothing_and_coloured_where_it_is_strong() -> None:
    image = np.full((4, 6, 1), 100, np.uint8)
    plain = Image.open(io.BytesIO(heat_picture.draw(image, np.zeros((2, 3), np.float32))))
    assert set(plain.get_flattened_data()) == {(100, 100, 100)}
    heat = np.array([[1, 0, 0], [0, 0, -1]], np.float32)
    drawn = np.asarray(Image.open(io.BytesIO(heat_picture.draw(image, heat)))).astype(int)
    assert drawn.shape == (4 * 75, 6 * 75, 3)
    red, blue = drawn[0, 0], drawn[-1, -1]
    assert red[0] > 150 > red[2]
    assert blue[2] > 150 > blue[0]
