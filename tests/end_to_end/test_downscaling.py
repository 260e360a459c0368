"""The SDK makes images smaller before they are sent: whatever a model's contract is, its answer must not change."""

from __future__ import annotations

import io

import numpy as np
import pytest
from bench.photographs import photograph
from PIL import Image

from covey import downscaling
from covey.results import InputSize
from covey_proto.interpolation import KNOWN, Interpolation
from covey_proto.resize import Resize
from covey_server.images.pixels import InputSpec, decode

SIZES = ((960, 720), (721, 903), (1000, 602))
POLICIES = {
    "stretch": (InputSize(32, 32, 3, Resize.STRETCH), InputSpec(32, 32, 3)),
    "crop": (
        InputSize(28, 28, 3, Resize.CENTER_CROP, 0.875, interpolation=Interpolation.BICUBIC),
        InputSpec(28, 28, 3, Resize.CENTER_CROP, 0.875, interpolation=Interpolation.BICUBIC),
    ),
    "shorter side": (
        InputSize(32, 32, 3, Resize.SHORTER_SIDE, resize_to=64),
        InputSpec(32, 32, 3, Resize.SHORTER_SIDE, resize_to=64),
    ),
    "pad": (
        InputSize(32, 32, 3, Resize.PAD, pad="#102030", interpolation=Interpolation.LANCZOS),
        InputSpec(32, 32, 3, Resize.PAD, pad=(16, 32, 48), interpolation=Interpolation.LANCZOS),
    ),
}


@pytest.fixture(scope="module", params=["JPEG", "PNG"])
def files(request: pytest.FixtureRequest) -> list[bytes]:
    found = []
    for seed, size in enumerate(SIZES):
        buffer = io.BytesIO()
        Image.fromarray(photograph(seed, *size)).save(buffer, request.param)
        found.append(buffer.getvalue())
    return found


@pytest.mark.parametrize("policy", POLICIES)
def test_the_answer_is_the_same_but_for_rounding(policy: str, files: list[bytes]) -> None:
    size, spec = POLICIES[policy]
    for data in files:
        smaller = downscaling.smaller_file(data, size)
        difference = np.abs(decode(smaller, spec).astype(int) - decode(data, spec))
        assert difference.mean() <= 0.5
        assert difference.max() <= 4
    assert len(downscaling.smaller_file(files[0], size)) < 0.8 * len(files[0])


@pytest.mark.parametrize(
    "size",
    [
        *(InputSize(32, 32, 3, Resize.SHORTER_SIDE, resize_to=40, interpolation=way, exact=True) for way in KNOWN),
        InputSize(32, 32, 3, Resize.STRETCH, interpolation=Interpolation.NEAREST),
        InputSize(32, 32, 3, Resize.UNKNOWN),
        InputSize(32, 32, 3, Resize.STRETCH, interpolation=Interpolation.UNKNOWN),
        InputSize(32, 32, 3, Resize.SHORTER_SIDE, resize_to=512),
    ],
)
def test_models_that_want_every_pixel_get_every_pixel(size: InputSize, files: list[bytes]) -> None:
    assert all(downscaling.smaller_file(data, size) is data for data in files)
    sent = Image.open(io.BytesIO(downscaling.to_png(Image.open(io.BytesIO(files[0])), size)))
    assert sent.size == SIZES[0]
