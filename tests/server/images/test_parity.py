"""The server's preprocessing against torchvision, timm and Hugging Face, run as their users run them: the same pixels
in exact mode, nearly the same without. Skipped where a library is not installed."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from bench.photographs import photograph
from numpy.typing import NDArray
from PIL import Image, ImageOps

from covey_proto import interpolation
from covey_proto.interpolation import Interpolation
from covey_proto.resize import Resize
from covey_server.images.pixels import InputSpec, decode

SIZES = ((640, 480), (301, 450), (903, 333), (97, 61), (60, 613))  # odd rests among them
OFF = {"do_rescale": False, "do_normalize": False, "do_convert_rgb": True}
WAYS = pytest.mark.parametrize("way", interpolation.KNOWN)


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    """Photographs in sizes that are rounded differently, JPEG and PNG."""
    found = []
    for seed, size in enumerate(SIZES):
        image = Image.fromarray(photograph(seed, *size))
        options = {"quality": 85 + seed, "subsampling": seed} if seed < 3 else {"compress_level": 1}
        found.append(_encoded(image, "JPEG" if seed < 3 else "PNG", **options))
    return found


def _assert_equal(
    files: list[bytes], spec: InputSpec, theirs: Callable[[Image.Image], NDArray[Any] | Image.Image]
) -> None:
    for data in files:
        expected = np.asarray(theirs(Image.open(io.BytesIO(data)).convert("RGB")))
        difference = np.abs(decode(data, spec).astype(int) - expected.astype(int))
        assert difference.max() == 0, f"{Image.open(io.BytesIO(data)).size}: {(difference > 0).mean():.1%} differ"


@WAYS
@pytest.mark.parametrize(("window", "side"), [((224, 224), 256), ((65, 65), 65), ((48, 31), 71), ((299, 299), 342)])
def test_torchvision_resize_and_center_crop(
    files: list[bytes], way: Interpolation, window: tuple[int, int], side: int
) -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    theirs = transforms.Compose(
        [transforms.Resize(side, transforms.InterpolationMode(way.value)), transforms.CenterCrop(window)]
    )
    spec = InputSpec(*window, 3, Resize.SHORTER_SIDE, resize_to=side, interpolation=way, exact=True)
    _assert_equal(files, spec, theirs)


@WAYS
def test_torchvision_resize_to_both_sides(files: list[bytes], way: Interpolation) -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    theirs = transforms.Resize((96, 128), transforms.InterpolationMode(way.value))
    _assert_equal(files, InputSpec(96, 128, 3, interpolation=way, exact=True), theirs)


@WAYS
@pytest.mark.parametrize("share", [0.875, 0.9, 0.95, 1.0])
def test_timm_center(files: list[bytes], way: Interpolation, share: float) -> None:
    side = math.floor(224 / share)
    spec = InputSpec(224, 224, 3, Resize.SHORTER_SIDE, resize_to=side, interpolation=way, exact=True)
    _assert_equal(files, spec, _timm(224, way, crop_pct=share, crop_mode="center"))


@WAYS
def test_timm_squash_of_all_is_to_stretch(files: list[bytes], way: Interpolation) -> None:
    spec = InputSpec(160, 160, 3, interpolation=way, exact=True)
    _assert_equal(files, spec, _timm(160, way, crop_pct=1.0, crop_mode="squash"))


@WAYS
def test_timm_border_of_all_is_to_pad(files: list[bytes], way: Interpolation) -> None:
    spec = InputSpec(161, 161, 3, Resize.PAD, interpolation=way, pad=(128, 51, 255), exact=True)
    _assert_equal(files, spec, _timm(161, way, crop_pct=1.0, crop_mode="border", mean=(0.5, 0.2, 1.0)))


def _timm(side: int, way: Interpolation, **options: Any) -> Callable[[Image.Image], NDArray[Any]]:
    data = pytest.importorskip("timm.data")
    transform = data.create_transform((3, side, side), interpolation=way.value, normalize=False, **options)

    def pixels(image: Image.Image) -> NDArray[Any]:
        found: NDArray[Any] = transform(image).numpy().transpose(1, 2, 0)
        return np.rint(found * 255) if found.dtype == np.float32 else found

    return pixels


@WAYS
def test_hugging_face_vit(files: list[bytes], way: Interpolation) -> None:
    processor = _hugging_face("vit", "ViT", way, size={"height": 96, "width": 128})
    _assert_equal(files, InputSpec(96, 128, 3, interpolation=way, exact=True), processor)


@WAYS
@pytest.mark.parametrize("side", [224, 257])
def test_hugging_face_clip(files: list[bytes], way: Interpolation, side: int) -> None:
    spec = InputSpec(224, 224, 3, Resize.SHORTER_SIDE, resize_to=side, interpolation=way, exact=True, floor_crop=True)
    crop = {"height": 224, "width": 224}
    _assert_equal(files, spec, _hugging_face("clip", "CLIP", way, size={"shortest_edge": side}, crop_size=crop))


@WAYS
@pytest.mark.parametrize("share", [0.875, 0.95])
def test_hugging_face_convnext(files: list[bytes], way: Interpolation, share: float) -> None:
    spec = InputSpec(
        224, 224, 3, Resize.SHORTER_SIDE, resize_to=int(224 / share), interpolation=way, exact=True, floor_crop=True
    )
    theirs = _hugging_face("convnext", "ConvNext", way, size={"shortest_edge": 224}, crop_pct=share)
    _assert_equal(files, spec, theirs)


@WAYS
def test_hugging_face_convnext_of_384_stretches(files: list[bytes], way: Interpolation) -> None:
    theirs = _hugging_face("convnext", "ConvNext", way, size={"shortest_edge": 384})
    _assert_equal(files, InputSpec(384, 384, 3, interpolation=way, exact=True), theirs)


def _hugging_face(
    module: str,
    name: str,
    way: Interpolation,
    **options: Any,
) -> Callable[[Image.Image], NDArray[Any]]:
    """The processor that works by Pillow; the one by torch tensors rounds differently."""
    models = pytest.importorskip(f"transformers.models.{module}.image_processing_pil_{module}")
    resample = Image.Resampling[way.name]
    processor = getattr(models, f"{name}ImageProcessorPil")(resample=resample, **options, **OFF)

    def pixels(image: Image.Image) -> NDArray[Any]:
        found: NDArray[Any] = processor(image)["pixel_values"][0]
        return found.transpose(1, 2, 0)

    return pixels


EXACT = {
    "stretch": InputSpec(60, 80, 3, exact=True),
    "shorter side": InputSpec(60, 60, 3, Resize.SHORTER_SIDE, resize_to=71, exact=True),
    "pad": InputSpec(60, 80, 3, Resize.PAD, pad=(9, 99, 199), exact=True),
}


@pytest.mark.parametrize("policy", EXACT)
@pytest.mark.parametrize("orientation", range(2, 9))
def test_an_image_is_turned_before_it_is_resized(policy: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = _encoded(Image.fromarray(photograph(1, 321, 205)), "JPEG", exif=exif)
    upright = _encoded(ImageOps.exif_transpose(Image.open(io.BytesIO(stored))), "PNG")
    assert np.array_equal(decode(stored, EXACT[policy]), decode(upright, EXACT[policy]))


@pytest.mark.parametrize("policy", EXACT)
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_every_mode_is_what_pillow_converts(policy: str, mode: str) -> None:
    image = Image.fromarray(photograph(2, 400, 300)).convert("RGBA" if mode == "LA" else "RGB").convert(mode)
    data = _encoded(image, "JPEG" if mode == "CMYK" else "PNG")
    converted = _encoded(Image.open(io.BytesIO(data)).convert("RGB"), "PNG")
    assert np.array_equal(decode(data, EXACT[policy]), decode(converted, EXACT[policy]))


PHOTOGRAPHS = {size: photograph(5, *size) for size in ((1201, 903), (450, 301))}
QUICK = {
    "stretch": InputSpec(64, 64, 3),
    "shorter side": InputSpec(56, 56, 3, Resize.SHORTER_SIDE, resize_to=64),
    "crop": InputSpec(56, 56, 3, Resize.CENTER_CROP, 0.875),
    "pad": InputSpec(64, 64, 3, Resize.PAD, pad=(9, 99, 199)),
}


@pytest.mark.parametrize("policy", QUICK)
@pytest.mark.parametrize("way", [Interpolation.BILINEAR, Interpolation.BICUBIC, Interpolation.LANCZOS])
@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
def test_without_exact_it_is_at_most_one_level_off_on_average(
    policy: str, way: Interpolation, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    quick = replace(QUICK[policy], interpolation=way)
    for size in ((1201, 903), (450, 301)):
        image = Image.fromarray(PHOTOGRAPHS[size])
        for kind, options in (("JPEG", {"quality": 92}), ("PNG", {"compress_level": 1})):
            data = _encoded(image, kind, exif=exif, **options)
            difference = np.abs(decode(data, quick).astype(int) - decode(data, replace(quick, exact=True)))
            assert difference.mean() <= 0.4
            assert difference.max() <= 3
