"""The data set `folder:PATH`: what is read, how it is split, what is noticed, and what is refused with which words."""

from __future__ import annotations

import os
import unicodedata
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covey_export.datasets import Dataset, Folder, find_entry, image_files
from covey_export.datasets.loaded import LoadedDatasets
from covey_export.errors import InvalidDataset, MissingDataset
from covey_proto.resize import Resize
from covey_server.images.pixels import InputSpec, decode

GREY_28 = InputSpec(28, 28, 1)
RGB_32 = InputSpec(32, 32, 3)
HTML = "<!DOCTYPE html><html><body>404 Not Found</body></html>"


def _write_images(folder: Path, count: int, level: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", (40, 30), (level, level, number)).save(folder / f"{number:02}.png")


def test_a_folder_without_parts_is_split_the_same_way_each_time(tmp_path: Path) -> None:
    _write_images(tmp_path / "dark", 10, 0)
    _write_images(tmp_path / "light", 20, 200)
    first, second = (find_entry(f"folder:{tmp_path}").load(RGB_32, None) for _ in range(2))
    assert first.labels == ("dark", "light")
    assert first.image_shape == (32, 32, 3)
    assert np.bincount(first.train_labels).tolist() == [8, 16]
    assert np.bincount(first.test_labels).tolist() == [2, 4]
    assert np.array_equal(first.test_images, second.test_images)
    assert (first.train_images[first.train_labels == 1][..., 0] == 200).all()
    shown = {int(image[0, 0, 2]) for image in (*first.train_images[8:], *first.test_images[2:])}
    assert shown == set(range(20)), "an image is in both parts or in none"
    assert str(tmp_path.parent) not in first.name


def test_a_folder_with_parts_keeps_them(tmp_path: Path) -> None:
    for part, count in (("train", 3), ("test", 1)):
        for level, name in enumerate(("a", "b")):
            _write_images(tmp_path / part / name, count, level)
    dataset = find_entry(f"folder:{tmp_path}").load(GREY_28, None)
    assert dataset.train_labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert dataset.test_labels.tolist() == [0, 1]
    assert dataset.image_shape == (28, 28, 1)


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ([], "two or more classes, found 0"),
        (["only/1.png", "only/2.png"], r"two or more classes, found 1 \(only\)"),
        (["1.png", "2.png"], "found 0; 2 images directly in it belong into the folder of a class"),
        (["a/1.png", "a/2.png", "b/1.png"], "class b has one image that can be read"),
        (["a/1.png", "a/2.png", "b/1.txt"], "no images .* in b"),
        (["train/a/1.png", "train/b/1.png"], "expected both train/ and test/"),
        (["train/a/1.png", "train/b/1.png", "test/a/1.png", "test/c/1.png"], "different classes: b, c"),
    ],
)
def test_a_folder_of_another_shape_is_explained(tmp_path: Path, folders: list[str], message: str) -> None:
    for name in folders:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(path, "PNG")
    with pytest.raises(InvalidDataset, match=message):
        find_entry(f"folder:{tmp_path}").load(GREY_28, None)


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingDataset, match="nowhere is no folder"):
        find_entry(f"folder:{tmp_path / 'nowhere'}").load(GREY_28, None)


def _write_two_classes(folder: Path) -> None:
    _write_images(folder / "a", 5, 0)
    _write_images(folder / "b", 5, 0)


def _load(folder: Path, spec: InputSpec = RGB_32, **options: str) -> Dataset:
    return Folder(folder, **options).load(spec, None)  # type: ignore[arg-type]


def test_all_unreadable_files_of_both_parts_are_listed_and_counted(tmp_path: Path) -> None:
    for part in ("train", "test"):
        _write_two_classes(tmp_path / part)
    (tmp_path / "train" / "a" / "page.jpg").write_text(HTML)
    (tmp_path / "train" / "b" / "empty.png").write_bytes(b"")
    (tmp_path / "test" / "b" / "link.png").symlink_to(tmp_path / "nowhere.png")
    whole = (tmp_path / "test" / "a" / "01.png").read_bytes()
    (tmp_path / "test" / "a" / "01.png").write_bytes(whole[:-30])
    with pytest.raises(InvalidDataset) as caught:
        _load(tmp_path)
    first, *listed = str(caught.value).splitlines()
    assert first == (
        f"{tmp_path}: 4 of 23 files cannot be read as images; mend them, delete them, or leave them out with "
        f"--unreadable skip:"
    )
    assert [line.split(": ")[0].strip() for line in listed] == [
        "train/a/page.jpg",
        "train/b/empty.png",
        "test/a/01.png",
        "test/b/link.png",
    ]
    assert " image: the 54 bytes are an HTML page" in listed[0]
    assert "the image is empty (0 bytes)" in listed[1]
    assert "damaged or cut off" in listed[2]
    assert "No such file or directory" in listed[3]


def test_of_many_unreadable_files_the_first_ten_are_shown(tmp_path: Path) -> None:
    _write_two_classes(tmp_path)
    for number in range(12):
        (tmp_path / "a" / f"page{number:02}.jpg").write_text(HTML)
    with pytest.raises(InvalidDataset, match="12 of 22 files cannot be read") as caught:
        _load(tmp_path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 12
    assert "a/page09.jpg" in lines[10]
    assert lines[11].strip() == "and 2 more"


def test_unreadable_files_are_left_out_where_that_is_asked_for(tmp_path: Path) -> None:
    _write_two_classes(tmp_path)
    before = _load(tmp_path)
    (tmp_path / "a" / "00.jpg").write_text(HTML)
    (tmp_path / "b" / "zz.jpg").write_text(HTML)
    dataset = _load(tmp_path, unreadable="skip")
    assert dataset.digest == before.digest, "files that are left out must not change the split of the others"
    (note,) = dataset.notes
    assert note.startswith("2 unreadable files skipped: a/00.jpg: not a JPEG")
    assert "; b/zz.jpg: " in note
    assert before.notes == ()


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_class_that_skipping_leaves_empty_is_refused(tmp_path: Path, part: str) -> None:
    for each in ("train", "test"):
        _write_two_classes(tmp_path / each)
    for file in (tmp_path / part / "b").iterdir():
        file.write_text(HTML)
    with pytest.raises(InvalidDataset, match=r"no image of b in .*can be read"):
        _load(tmp_path, unreadable="skip")


def test_a_class_of_which_skipping_leaves_one_image_is_refused(tmp_path: Path) -> None:
    _write_two_classes(tmp_path)
    for number in range(1, 5):
        (tmp_path / "b" / f"{number:02}.png").write_text(HTML)
    with pytest.raises(InvalidDataset, match="class b has one image that can be read; at least two are needed"):
        _load(tmp_path, unreadable="skip")


def test_grey_and_transparent_images_in_an_rgb_set_are_converted_and_counted(tmp_path: Path) -> None:
    _write_two_classes(tmp_path)
    Image.new("L", (40, 30), 77).save(tmp_path / "a" / "x0.png")
    Image.new("LA", (40, 30), (77, 0)).save(tmp_path / "a" / "x1.png")
    Image.fromarray(np.full((30, 40), 77 * 256, np.uint16)).save(tmp_path / "a" / "x2.png")
    Image.new("RGBA", (40, 30), (10, 20, 30, 0)).save(tmp_path / "b" / "x3.png")
    Image.new("P", (40, 30), 0).save(tmp_path / "b" / "x4.png", transparency=0)
    Image.new("L", (40, 30), 77).save(tmp_path / "b" / "x5.jpg")
    dataset = _load(tmp_path)
    assert dataset.notes == (
        "4 grey images in an RGB set were converted to RGB",
        "3 images have transparency, which was dropped",
    )
    pixels = np.concatenate([dataset.train_images, dataset.test_images])
    assert sum((image == 77).all() for image in pixels) == 4
    assert sum((image == (10, 20, 30)).all() for image in pixels) == 1


def test_colour_images_in_a_grey_set_are_converted_and_counted(tmp_path: Path) -> None:
    _write_two_classes(tmp_path)
    Image.new("L", (40, 30), 77).save(tmp_path / "a" / "grey.png")
    assert _load(tmp_path, GREY_28).notes == ("10 colour images in a grey set were converted to grey",)


def test_capital_suffixes_count_and_hidden_files_do_not(tmp_path: Path) -> None:
    _write_two_classes(tmp_path)
    plain = _load(tmp_path)
    for name in (".DS_Store", "._00.png", ".hidden.jpg"):
        (tmp_path / "a" / name).write_text("nothing")
    (tmp_path / ".git").mkdir()
    assert _load(tmp_path).digest == plain.digest
    for number, suffix in enumerate((".JPG", ".Jpeg", ".PNG", ".WEBP", ".GIF")):
        kind = "jpeg" if suffix.lower() in (".jpg", ".jpeg") else suffix[1:].lower()
        Image.new("RGB", (40, 30)).save(tmp_path / "b" / f"more{number}{suffix}", kind)
    dataset = _load(tmp_path)
    assert len(dataset.train_images) + len(dataset.test_images) == 15
    assert dataset.notes == ()


def test_what_lies_among_the_images_and_is_none_is_told(tmp_path: Path) -> None:
    _write_two_classes(tmp_path)
    _write_images(tmp_path / "a" / "more", 3, 0)
    (tmp_path / "a" / "notes.txt").write_text("sharp ones only")
    (tmp_path / "a" / "first.RAW").write_bytes(b"x")
    (tmp_path / "b" / "notes.TXT").write_bytes(b"x")
    dataset = _load(tmp_path)
    assert len(dataset.train_images) + len(dataset.test_images) == 10
    assert dataset.notes == (
        "1 folder inside a class's folder left out: a/more",
        "left out 2 .txt, 1 .raw: a/first.RAW, a/notes.txt, b/notes.TXT",
    )


def test_names_that_are_no_text_are_refused_where_they_would_be_labels(tmp_path: Path) -> None:
    """And are told as escapes elsewhere."""
    _write_two_classes(tmp_path)
    (tmp_path / "a" / os.fsdecode(b"caf\xe9.txt")).write_text("x")
    assert _load(tmp_path).notes == ("left out 1 .txt: a/caf\\udce9.txt",)
    _write_images(tmp_path / os.fsdecode(b"caf\xe9"), 2, 0)
    with pytest.raises(InvalidDataset, match=r"caf\\udce9: the name of this folder is not UTF-8, .* rename it") as said:
        _load(tmp_path)
    str(said.value).encode()
    folder = tmp_path / os.fsdecode(b"\xff")
    _write_two_classes(folder)
    with pytest.raises(InvalidDataset, match="is not UTF-8"):
        _load(folder)


def test_an_empty_class_is_named(tmp_path: Path) -> None:
    _write_two_classes(tmp_path)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InvalidDataset, match=r"no images \(.jpg, .png, .webp, .gif, .*\) in nothing$"):
        _load(tmp_path)
    (tmp_path / "nothing" / "notes.txt").write_text("x")
    with pytest.raises(InvalidDataset, match=r"in nothing; left out 1 .txt$"):
        _load(tmp_path)


@pytest.mark.parametrize("parts", [("", ""), ("train", "test")])
def test_class_folders_in_two_forms_of_unicode_are_one_class(tmp_path: Path, parts: tuple[str, str]) -> None:
    """A disk that was filled from a Mac and from elsewhere."""
    composed, decomposed = unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")
    for part, form in zip(parts, (composed, decomposed), strict=True):
        _write_images(tmp_path / part / form, 5, 0)
        if not (tmp_path / part / "a").exists():
            _write_images(tmp_path / part / "a", 5, 200)
    dataset = _load(tmp_path)
    assert dataset.labels == ("a", composed)
    assert np.bincount([*dataset.train_labels, *dataset.test_labels]).tolist() == [10 if parts[0] else 5, 10]
    assert (dataset.train_images[dataset.train_labels == 1][..., 0] == 0).all()


def test_classes_that_only_spaces_set_apart_are_refused_before_the_training(tmp_path: Path) -> None:
    for name in ("cat", "cat ", "dog"):
        _write_images(tmp_path / name, 5, 0)
    with pytest.raises(InvalidDataset, match="the classes 'cat' and 'cat ' differ in spaces alone; rename one"):
        _load(tmp_path)


def test_classes_that_only_capitals_set_apart_are_told(tmp_path: Path) -> None:
    for name in ("Cat", "cat", "dog"):
        _write_images(tmp_path / name, 5, 0)
    dataset = _load(tmp_path)
    assert dataset.labels == ("Cat", "cat", "dog")
    assert dataset.notes == ("Cat and cat are classes of their own, though only capital letters set them apart",)


def test_what_systems_leave_behind_is_no_class_and_no_image(tmp_path: Path) -> None:
    _write_two_classes(tmp_path)
    before = _load(tmp_path)
    for folder in ("__MACOSX", "@eaDir", ".thumbnails", "a/@eaDir", "a/__MACOSX"):
        _write_images(tmp_path / folder, 1, 0)
    for name in ("Thumbs.db", "desktop.ini", "._00.png", ".DS_Store"):
        (tmp_path / "a" / name).write_bytes(b"x")
    found = _load(tmp_path)
    assert (found.labels, found.digest, found.notes) == (before.labels, before.digest, before.notes)


@pytest.mark.parametrize(("kind", "suffix"), [("AVIF", ".avif"), ("BMP", ".BMP"), ("TIFF", ".tiff")])
def test_data_sets_hold_all_formats_that_can_be_decoded_here(tmp_path: Path, kind: str, suffix: str) -> None:
    _write_two_classes(tmp_path)
    before = len(_load(tmp_path).train_images)
    for number in range(5):
        Image.new("RGB", (40, 30), (9, 9, 9)).save(tmp_path / "a" / f"more{number}{suffix}", kind)
    dataset = _load(tmp_path)
    assert len(dataset.train_images) == before + 4
    assert dataset.notes == ()


def test_images_are_read_by_the_spec_as_the_server_reads_them(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(5):
            pixels = random.integers(0, 256, (37 + number, 81 - number, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.jpg")
    spec = InputSpec(32, 32, 3, Resize.CENTER_CROP, 0.875)
    dataset = _load(tmp_path, spec)
    found = {image.tobytes() for image in (*dataset.train_images, *dataset.test_images)}
    assert found == {decode(file.read_bytes(), spec).tobytes() for file in tmp_path.glob("*/*.jpg")}
    assert dataset.digest != _load(tmp_path, InputSpec(32, 32, 3, Resize.CENTER_CROP, 1.0)).digest


def test_a_containers_limit_counts_where_it_is_less_than_the_machine_has(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    unlimited = 2**63 - 4096
    for file, limit, is_less in (
        ("memory/memory.limit_in_bytes", f"{unlimited}", False),
        ("memory/memory.limit_in_bytes", "100", True),
        ("memory.max", "max", True),  # the other version's is asked then
        ("memory.max", "0", True),
    ):
        (tmp_path / file).write_text(limit + "\n")
        assert (image_files.available_bytes(tmp_path) == 0) is is_less


def test_a_data_set_is_in_memory_once_and_no_longer_than_it_is_needed(tmp_path: Path) -> None:
    _write_two_classes(tmp_path)
    loaded, entries = LoadedDatasets(None), [find_entry(f"folder:{tmp_path}") for _ in range(2)]
    first, second = (loaded.load(entry, RGB_32) for entry in entries)
    assert first is second
    assert loaded.load(entries[0], GREY_28) is not first
    known = weakref.ref(first)
    del first, second
    assert known() is None
    sample = find_entry("sample")
    one, other = (loaded.load(sample, InputSpec(28, 28, 1, crop=crop)) for crop in (1.0, 0.5))
    assert one is other, "its images have a size of their own"


def test_images_that_cannot_fit_into_memory_are_refused_before_one_is_read(tmp_path: Path) -> None:
    available = image_files.available_bytes()
    if available is None:
        pytest.skip("this system does not say how much memory is available")
    _write_two_classes(tmp_path)
    side = 10 * int((available / 30) ** 0.5)
    with pytest.raises(
        InvalidDataset, match=rf"10 images of {side}x{side}x3 take [\d,.]+ GB of memory, [\d,.]+ GB are"
    ):
        _load(tmp_path, InputSpec(side, side, 3))


def test_a_file_with_damage_beside_its_pixels_is_read_as_the_server_reads_it(tmp_path: Path) -> None:
    """Pillow opens no PNG with a wrong checksum, wherever it stands."""
    _write_two_classes(tmp_path)
    expected = _load(tmp_path)
    for file in tmp_path.rglob("*.png"):
        whole = file.read_bytes()
        file.write_bytes(whole[:33] + b"\x00\x00\x00\x04gAMA\x00\x00\xb1\x8fnone" + whole[33:])
    found = _load(tmp_path)
    assert np.array_equal(found.train_images, expected.train_images)
    assert found.notes == expected.notes
