"""What is sent: images of every origin, in batches, and what cannot be sent."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from covey.errors import InvalidInput, MissingFile, UnreadableFile
from covey_load import payloads
from covey_load.payloads import Files, Pixels

SHAPE = (4, 4, 1)


def make(source: object, images: int = 1, datatype: str = "UINT8", seed: int = 0) -> payloads.Payload:
    return payloads.make(str(source), images, SHAPE, datatype, seed)


def test_random_pixels_are_of_the_models_size_and_follow_from_the_seed() -> None:
    payload = make("random", images=8)
    assert payload.description == "4 x 4 x 1 uint8, random; 16 bytes an image"
    arrays = [batch.array for batch in payload.batches if isinstance(batch, Pixels)]
    assert {(array.shape, array.dtype.name) for array in arrays} == {((8, 4, 4, 1), "uint8")}
    assert len(arrays) == 8
    again, other = make("random", images=8).batches[0], make("random", images=8, seed=1).batches[0]
    assert isinstance(again, Pixels)
    assert isinstance(other, Pixels)
    assert (again.array == arrays[0]).all()
    assert (other.array != arrays[0]).any()
    floats = make("random", datatype="FP32").batches[0]
    assert isinstance(floats, Pixels)
    assert floats.array.dtype == np.float32
    with pytest.raises(InvalidInput, match="the model takes INT64; random pixels are made for UINT8"):
        make("random", datatype="INT64")


def test_images_of_an_array_are_sent_in_turn(tmp_path: Path) -> None:
    images = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1) * np.ones((1, *SHAPE), np.uint8)
    np.save(tmp_path / "images.npy", images)
    payload = make(tmp_path / "images.npy", images=3)
    sent = [batch.array[:, 0, 0, 0].tolist() for batch in payload.batches if isinstance(batch, Pixels)]
    assert sent == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    # More than there are: from the first one on again.
    (batch_of_12,) = make(tmp_path / "images.npy", images=12).batches
    assert isinstance(batch_of_12, Pixels)
    assert batch_of_12.array[:, 0, 0, 0].tolist() == [*range(10), 0, 1]


def test_files_are_sent_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.jpg").write_bytes(b"first")
    (tmp_path / "deep" / "b.PNG").write_bytes(b"second")
    (tmp_path / "notes.txt").write_bytes(b"no image")
    payload = make(tmp_path)
    assert [batch.contents for batch in payload.batches if isinstance(batch, Files)] == [[b"first"], [b"second"]]
    assert payload.description == f"2 image files of {tmp_path.name} (left out 1 .txt); 6 bytes on average"
    (single_file,) = make(tmp_path / "a.jpg", images=2).batches
    assert single_file == Files([b"first", b"first"], [str(tmp_path / "a.jpg")] * 2)


def test_a_folder_says_what_it_leaves_out_and_passes_over_what_is_hidden(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.avif", "c.heic", "d.txt", "._a.png", "__MACOSX/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"image")
    payload = make(tmp_path)
    assert [name for batch in payload.batches if isinstance(batch, Files) for name in batch.names] == [
        str(tmp_path / "a.avif"),
        str(tmp_path / "b.PNG"),
    ]
    assert payload.description.startswith(f"2 image files of {tmp_path.name} (left out 1 .heic, 1 .txt); ")


def test_jpegs_are_made_up_at_any_size() -> None:
    payload = make("jpeg:64x48")
    assert payload.description.startswith("JPEG files of 64 x 48, made up; ")
    assert len(payload.batches) == 16
    batch = payload.batches[0]
    assert isinstance(batch, Files)
    with PIL.Image.open(io.BytesIO(batch.contents[0])) as image:
        assert (image.format, image.size) == ("JPEG", (64, 48))


def test_what_cannot_be_sent_is_said(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match=r"not found; --payload takes random, jpeg:WxH, an \.npy file or a folder"):
        make(tmp_path / "nowhere")
    (tmp_path / "a.heic").write_bytes(b"first")
    with pytest.raises(InvalidInput, match=r"holds no image file \(\.jpg, .*; it holds 1 \.heic$"):
        make(tmp_path)
    with pytest.raises(MissingFile, match=r"images\.npy: not found"):
        make(tmp_path / "images.npy")
    (tmp_path / "images.npy").write_bytes(b"no array")
    with pytest.raises(UnreadableFile, match=r"is no \.npy file"):
        make(tmp_path / "images.npy")
    np.save(tmp_path / "images.npy", np.zeros((2, 5, 5, 1), np.uint8))
    with pytest.raises(InvalidInput, match=r"holds uint8 \[2, 5, 5, 1\]; the model takes UINT8 \[N, 4, 4, 1\]"):
        make(tmp_path / "images.npy")
