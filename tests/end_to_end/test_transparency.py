"""Transparency is the same on every way: in training on a folder, on the server, made smaller by the SDK."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covey import downscaling
from covey.results import InputSize
from covey_export.datasets import find_entry
from covey_proto import colours
from covey_proto.resize import Resize
from covey_server.images.pixels import InputSpec, decode

SIDE = 640


def _shape(mode: str) -> Image.Image:
    """A disc with a soft edge over nothing; another colour lies hidden around it."""
    rows, columns = np.ogrid[:SIDE, :SIDE]
    distance = np.hypot(rows - SIDE / 2, columns - SIDE / 2)
    alpha = np.clip((SIDE / 3 - distance) * 20, 0, 255).astype(np.uint8)
    colour = np.where(alpha[:, :, None] > 0, (200, 30, 60), (0, 255, 0)).astype(np.uint8)
    image = Image.fromarray(np.dstack([colour, alpha]))
    if mode == "P":
        return image.quantize(64)
    return image.convert("LA") if mode == "LA" else image


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize("background", ["#ffffff", "#204080", ""])
def test_the_sdk_makes_a_transparent_image_smaller_without_another_answer(
    mode: str, background: str, channels: int
) -> None:
    data = _png(_shape(mode))
    smaller = downscaling.smaller_file(data, InputSize(32, 32, channels, Resize.STRETCH, 1.0, background))
    assert Image.open(io.BytesIO(smaller)).size == (64, 64)
    spec = InputSpec(32, 32, channels, background=colours.parse(background) if background else None)
    assert np.abs(decode(smaller, spec).astype(int) - decode(data, spec)).max() <= 2


@pytest.mark.parametrize(("background", "around"), [((255, 255, 255), 255), (None, 0)])
def test_training_on_a_folder_sees_what_the_server_shows_the_model(
    tmp_path: Path, background: colours.Colour | None, around: int
) -> None:
    spec = InputSpec(32, 32, 3, background=background)
    data = _png(_shape("RGBA"))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(2):
            (tmp_path / name / f"{number}.png").write_bytes(data)
    dataset = find_entry(f"folder:{tmp_path}").load(spec, None)
    shown = decode(data, spec)
    assert shown[0, 0].tolist() == [around, 255, around]
    assert all(np.array_equal(image, shown) for image in (*dataset.train_images, *dataset.test_images))
