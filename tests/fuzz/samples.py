"""Owns what is right before it is made wrong: image files of every kind that the server reads, and the models that it
serves while it is fuzzed."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tests.conftest import echo_model

ECHO_SHAPE = (4, 4, 1)
ECHO_CLASSES = 10
COLOUR_SHAPE = (24, 32, 3)


def write_models(folder: Path) -> None:
    """`echo` (grey, 4 x 4, the default) and `colour` (version 7), whose probabilities are the pixels themselves."""
    for name, version, shape, classes in (("echo", 1, ECHO_SHAPE, ECHO_CLASSES), ("colour", 7, COLOUR_SHAPE, 100)):
        path = folder / name / str(version) / "model.onnx"
        path.parent.mkdir(parents=True)
        labels = [f"class {index}" for index in range(classes)]
        path.write_bytes(echo_model(shape, labels).SerializeToString())


@cache
def image_files() -> tuple[bytes, ...]:
    """JPEG (baseline, progressive, with restart markers, CMYK, turned), PNG of every mode, WebP, GIF, AVIF,
    animations."""
    files: list[bytes] = []
    for width, height in ((16, 16), (45, 33), (120, 90)):
        across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
        noise = np.random.default_rng(width).integers(0, 60, (height, width))
        planes = [(plane + noise).clip(0, 255).astype(np.uint8) for plane in (across, down, 255 - across)]
        colour = Image.merge("RGB", [Image.fromarray(plane) for plane in planes])
        files += [_encoded(colour.convert(mode), "JPEG", **how) for mode, how in _jpeg_kinds()]
        files += [_encoded(colour.convert(mode), "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA")]
        files.append(_encoded(Image.fromarray(planes[0].astype(np.uint16) << 8), "PNG"))
        files.append(_encoded(colour, "PNG", exif=_turned(6)))
        files += [_encoded(colour, "WEBP", lossless=lossless) for lossless in (False, True)]
        files.append(_encoded(colour.convert("RGBA"), "WEBP", exif=_turned(8)))
        files.append(_encoded(colour.convert("P"), "GIF"))
        frames = [colour.rotate(90)]
        files += [
            _encoded(colour, kind, save_all=True, append_images=frames) for kind in ("GIF", "WEBP", "PNG", "AVIF")
        ]
        files.append(_encoded(colour.convert("RGBA"), "AVIF", speed=10, exif=_turned(6)))
    return tuple(files)


def _jpeg_kinds() -> list[tuple[str, dict[str, Any]]]:
    return [
        ("L", {}),
        ("RGB", {"subsampling": 0}),
        ("RGB", {"subsampling": 2, "exif": _turned(6)}),
        ("RGB", {"progressive": True}),
        ("L", {"progressive": True, "exif": _turned(3)}),
        ("RGB", {"restart_marker_blocks": 2}),
        ("CMYK", {}),
    ]


def _turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = "a description long enough to stand outside of its tag"
    return exif


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
