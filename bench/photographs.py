"""Makes synthetic photographs: what a camera's JPEG costs to decode, without anybody's picture in the project.

Smooth light, soft shapes and fine texture, so that the files have a photograph's size (640x480 at quality 90: 60 to
100 kB). The same seed gives the same picture.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

WIDTH, HEIGHT = 640, 480
QUALITY = 90
# Cells of the picture's height, and how far each scale moves a value: light, shapes, surfaces, texture.
_SCALES = ((2, 60.0), (6, 45.0), (24, 22.0), (96, 15.0), (240, 10.0))


def photograph(seed: int, width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    """One picture, `[height, width, 3] uint8`."""
    random = np.random.default_rng(seed)
    light = np.full((height, width), 128.0)
    for cells, amplitude in _SCALES:
        light += amplitude * _field(random, cells, width, height)
    # Colours change more slowly than light does, as in real pictures.
    colours = [30.0 * _field(random, 4, width, height) for _ in range(3)]
    picture = np.stack([light + colour for colour in colours], axis=-1)
    return picture.clip(0, 255).astype(np.uint8)


def jpeg(picture: NDArray[np.uint8]) -> bytes:
    """The picture as a JPEG file of a camera's quality."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def write_folder(folder: Path, classes: int, images: int) -> None:
    """A data set as `covey-export --dataset folder:PATH` reads it, of `images` photographs in each class."""
    for number in range(classes):
        kind = folder / f"kind-{number}"
        kind.mkdir(parents=True, exist_ok=True)
        for index in range(images):
            (kind / f"{index}.jpg").write_bytes(jpeg(photograph(number * images + index)))


def _field(random: np.random.Generator, cells: int, width: int, height: int) -> NDArray[np.float64]:
    """Smooth random values, mostly between -1 and 1, that change within a `cells`-th of the height."""
    grid = random.standard_normal((cells + 1, cells * width // height + 1)).astype(np.float32)
    smooth = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(smooth, np.float64) / 2
