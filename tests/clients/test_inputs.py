"""What may be given as an image, what is sent for it, and what each mistake is told."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

import covey
from covey import inputs
from covey.inputs import EncodedPart, PixelsPart

GREY = np.arange(28 * 28, dtype=np.uint8).reshape(28, 28)
RGB = np.arange(32 * 30 * 3, dtype=np.uint8).reshape(32, 30, 3)


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def test_a_path_is_sent_as_the_bytes_of_its_file_whatever_they_are(tmp_path: Path) -> None:
    path = tmp_path / "text.png"
    path.write_bytes(b"hello")
    for given in (path, str(path)):
        assert inputs.read(given) == [EncodedPart((0,), (str(path),), (b"hello",))]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_are_sent_as_they_are(kind: type) -> None:
    assert inputs.read(kind(b"hello")) == [EncodedPart((0,), ("",), (b"hello",))]


@pytest.mark.parametrize(
    ("array", "shape"),
    [(GREY, (28, 28, 1)), (GREY[:, :, np.newaxis], (28, 28, 1)), (RGB, (32, 30, 3))],
    ids=["H,W", "H,W,1", "H,W,3"],
)
def test_one_array_is_sent_as_pixels_with_its_shape(array: np.ndarray[Any, Any], shape: tuple[int, ...]) -> None:
    assert inputs.read(array) == [PixelsPart((0,), array.tobytes(), *shape)]


def test_arrays_that_are_not_contiguous_are_sent_row_by_row() -> None:
    turned = RGB.transpose(1, 0, 2)[::-1]
    (part,) = inputs.read(turned)
    assert isinstance(part, PixelsPart)
    assert (part.height, part.width) == (30, 32)
    assert np.array_equal(np.frombuffer(part.data, np.uint8).reshape(turned.shape), turned)


def test_a_batch_and_a_list_of_arrays_are_one_packed_part() -> None:
    batch = np.stack([RGB, 255 - RGB])
    expected = [PixelsPart(range(2), batch.tobytes(), 32, 30, 3)]
    assert inputs.read(batch) == expected
    (part,) = inputs.read(list(batch))
    assert isinstance(part, PixelsPart)
    assert (tuple(part.places), part.data) == ((0, 1), batch.tobytes())


def test_a_mixed_list_is_one_part_of_files_and_one_of_pixels_that_know_their_places() -> None:
    assert inputs.read([GREY, b"one", GREY[:, :, np.newaxis], b"three"]) == [
        EncodedPart((1, 3), ("", ""), (b"one", b"three")),
        PixelsPart((0, 2), GREY.tobytes() * 2, 28, 28, 1),
    ]


@pytest.mark.parametrize(
    ("array", "advice"),
    [
        (GREY / np.float32(255), r"an array of float32.*\(x \* 255\)\.round\(\)\.astype\(np\.uint8\)"),
        (GREY > 3, r"an array of bool.*x\.astype\(np\.uint8\) \* 255"),
        (GREY.astype(np.int64), r"an array of int64.*x\.astype\(np\.uint8\)"),
        (RGB.transpose(2, 0, 1), r"shape 3 x 32 x 30; .*np\.moveaxis\(x, -3, -1\)"),
        (np.stack([GREY] * 5), r"shape 5 x 28 x 28; .*batch of grey images: x\[\.\.\., np\.newaxis\]"),
        (np.dstack([RGB, RGB[:, :, :1]]), r"shape 32 x 30 x 4; .*alpha channel: x\[\.\.\., :3\]"),
        (RGB.transpose(2, 0, 1)[np.newaxis], r"shape 1 x 3 x 32 x 30; .*np\.moveaxis\(x, -3, -1\)"),
        (GREY[0], r"shape 28; one image is \[H, W\] or \[H, W, C\], a batch \[N, H, W, C\]"),
        (GREY[:, :0], r"the array is empty, of shape 28 x 0"),
        (RGB[np.newaxis][:0], r"no images: the array is empty, of shape 0 x 32 x 30 x 3"),
    ],
    ids=["float", "bool", "int64", "CHW", "NHW", "RGBA", "NCHW", "1-d", "no columns", "no images"],
)
def test_arrays_that_are_no_images_are_refused_with_what_to_do(array: np.ndarray[Any, Any], advice: str) -> None:
    with pytest.raises(covey.InvalidInput, match=advice):
        inputs.read(array)


@pytest.mark.parametrize(
    ("image", "advice"),
    [
        (GREY / np.float32(255), r"\(x \* 255\)\.round\(\)\.astype\(np\.uint8\)"),
        (GREY > 3, r"x\.astype\(np\.uint8\) \* 255"),
    ],
    ids=["float", "bool"],
)
def test_the_advice_for_other_types_gives_the_array_that_was_meant(image: np.ndarray[Any, Any], advice: str) -> None:
    with pytest.raises(covey.InvalidInput, match=advice):
        inputs.read(image)
    expression = advice.replace("\\", "")
    (part,) = inputs.read(eval(expression, {"x": image, "np": np}))
    assert isinstance(part, PixelsPart)
    expected = GREY if image.dtype == np.float32 else np.where(GREY > 3, 255, 0).astype(np.uint8)
    assert part.data == expected.tobytes()


def test_a_list_of_very_many_files_is_split_by_their_number() -> None:
    """The server refuses messages of more parts than requests need."""
    count = 65_536
    pieces = inputs.split(EncodedPart(range(count), ("",) * count, (b"x",) * count), 1 << 26, 1)
    assert [len(piece.places) for piece in pieces] == [65_000, 536]


def test_a_list_is_split_into_pieces_none_of_which_is_empty() -> None:
    """The first file has room in a piece of its own, but for what a request puts around each."""
    files = [b"x" * 997, b"y", b"z" * 996]
    pieces = inputs.split(EncodedPart(range(3), ("", "", ""), files), 1_000, 1)
    assert [piece.files for piece in pieces if isinstance(piece, EncodedPart)] == [[one] for one in files]


@pytest.mark.parametrize("given", [[], ()])
def test_an_empty_list_is_refused(given: Sequence[object]) -> None:
    with pytest.raises(covey.InvalidInput, match=f"no images: the {type(given).__name__} is empty"):
        inputs.read(given)


def test_arrays_of_different_shapes_in_a_list_are_refused_by_their_places() -> None:
    with pytest.raises(covey.InvalidInput, match=r"images\[1\] is 28 x 28 x 1, images\[2\] is 32 x 30 x 3"):
        inputs.read([b"file", GREY, RGB])


def test_a_batch_or_a_list_within_a_list_is_refused() -> None:
    with pytest.raises(covey.InvalidInput, match=r"images\[1\]: a batch of shape 1 x 32 x 30 x 3 within a list"):
        inputs.read([RGB, RGB[np.newaxis]])
    with pytest.raises(covey.UnsupportedInput, match=r"images\[0\]: cannot classify a value of type list"):
        inputs.read([[RGB]])


@pytest.mark.parametrize("given", [7, None, iter([b"one"]), object()])
def test_other_types_are_type_errors_that_say_what_is_accepted(given: object) -> None:
    with pytest.raises(
        TypeError, match=f"type {type(given).__name__}; give a path, the bytes of an image file"
    ) as info:
        inputs.read(given)
    assert isinstance(info.value, covey.InvalidInput)


def test_files_that_cannot_be_read_are_errors_of_the_kind_python_has_for_them(tmp_path: Path) -> None:
    missing, empty = tmp_path / "missing.png", tmp_path / "empty.png"
    empty.touch()
    with pytest.raises(FileNotFoundError, match=r"missing\.png: there is no such file") as info:
        inputs.read(missing)
    assert isinstance(info.value, covey.MissingFile)
    assert isinstance(info.value.__cause__, FileNotFoundError)
    with pytest.raises(
        covey.MissingFile, match=r"a\.png: there is no such file; it is an address, .* download it first"
    ):
        inputs.read("http://localhost/a.png")
    with pytest.raises(OSError, match="is a folder") as folder:
        inputs.read(tmp_path)
    assert isinstance(folder.value, covey.UnreadableFile)
    with pytest.raises(ValueError, match=r"empty\.png: is empty"):
        inputs.read(empty)
    with pytest.raises(covey.UnreadableFile, match=r"empty\.png/x: cannot be read \(Not a directory\)"):
        inputs.read(empty / "x")
    with pytest.raises(covey.InvalidInput, match="is no path"):
        inputs.read("a\0b.png")
    with pytest.raises(covey.InvalidInput, match="the image: is empty"):
        inputs.read(b"")


def test_an_open_file_is_read_from_where_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "cat.jpg"
    path.write_bytes(b"hello")
    with path.open("rb") as file:
        assert inputs.read(file) == [EncodedPart((0,), (str(path),), (b"hello",))]
        with pytest.raises(covey.InvalidInput, match=r"cat\.jpg: gives 0 bytes; .*seek\(0\)"):
            inputs.read(file)
    with pytest.raises(covey.UnreadableFile, match=r"cat\.jpg: cannot be read \(read of closed file\)"):
        inputs.read(file)
    with path.open() as text, pytest.raises(covey.UnsupportedInput, match="gives str, not bytes; open it with mode"):
        inputs.read(text)
    assert inputs.read([io.BytesIO(b"hello")]) == [EncodedPart((0,), ("",), (b"hello",))]


def test_in_a_list_the_error_names_the_place_and_keeps_its_kind_and_cause(tmp_path: Path) -> None:
    with pytest.raises(covey.MissingFile, match=r"images\[1\]: .*missing\.png: there is no such file") as info:
        inputs.read([b"file", tmp_path / "missing.png"])
    assert isinstance(info.value.__cause__, FileNotFoundError)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_a_pil_image_is_sent_as_a_png_without_loss(mode: str) -> None:
    image = Image.fromarray(GREY.astype(np.uint16) * 100) if mode == "I;16" else Image.fromarray(RGB).convert(mode)
    assert image.mode == mode
    received = _sent_png(image)
    assert received.mode == mode
    assert received.tobytes() == image.tobytes()


def test_a_pil_image_of_a_mode_that_png_has_not_is_sent_as_rgb() -> None:
    image = Image.fromarray(RGB).convert("CMYK")
    assert _sent_png(image).tobytes() == image.convert("RGB").tobytes()


@pytest.mark.parametrize("mode", ["La", "PA", "RGBa"])
def test_a_pil_image_keeps_its_transparency_in_modes_that_png_has_not(mode: str) -> None:
    image = Image.new("RGBA", (8, 8), (90, 90, 90, 128))
    image.paste((90, 90, 90, 255), (0, 0, 4, 8))
    sent = _sent_png(image.convert("LA" if mode == "La" else "RGBA").convert(mode)).convert("RGBA")
    assert (sent.getpixel((0, 0)), sent.getchannel("A").getpixel((7, 7))) == ((90, 90, 90, 255), 128)


@pytest.mark.parametrize("mode", ["F", "I"])
def test_a_pil_image_whose_values_have_no_known_range_is_refused(mode: str) -> None:
    with pytest.raises(covey.InvalidInput, match=f"a PIL image of mode {mode}, .*as uint8"):
        inputs.read(Image.fromarray(GREY).convert(mode))


def test_an_empty_pil_image_is_refused() -> None:
    with pytest.raises(covey.InvalidInput, match="the PIL image is empty, of size 0 x 5"):
        inputs.read(Image.new("L", (0, 5)))


@pytest.mark.parametrize("size", [None, covey.InputSize(8, 8, 1, covey.Resize.STRETCH)], ids=["as it is", "smaller"])
def test_a_pil_image_whose_file_is_cut_off_is_refused(size: covey.InputSize | None) -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64), dtype=np.uint8))
    with pytest.raises(covey.InvalidInput, match="the PIL image cannot be read") as info:
        inputs.read(Image.open(io.BytesIO(_png(noise)[:1000])), size)
    assert info.value.__cause__ is not None


def test_a_pil_image_straight_from_a_file_keeps_the_orientation_of_the_file_and_no_other_exif() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    exif[0x010F] = "a camera's maker"
    file = io.BytesIO()
    Image.fromarray(RGB).save(file, "JPEG", exif=exif)
    opened = Image.open(file)
    received = _sent_png(opened)
    assert dict(received.getexif()) == {0x0112: 6}
    assert ImageOps.exif_transpose(received).tobytes() == ImageOps.exif_transpose(opened).tobytes()
    assert dict(opened.getexif()) == dict(exif), "the caller's own image is left alone"
    assert not _sent_png(opened.rotate(90)).getexif(), "changed in memory: sent as its pixels lie"


def _sent_png(image: Image.Image) -> Image.Image:
    (part,) = inputs.read(image)
    assert isinstance(part, EncodedPart)
    (data,) = part.files
    assert data.startswith(b"\x89PNG")
    return Image.open(io.BytesIO(data))
