"""The data set `capture:PATH`: labelled images alone, by themselves or added to another data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.clients.labelling.captured import write

from covey.labelling.captures import Captures
from covey_export.datasets import Capture, find_entry
from covey_export.errors import InvalidDataset, MissingDataset, UnknownName
from covey_server.images.pixels import InputSpec

GREY_4, GREY_28 = InputSpec(4, 4, 1), InputSpec(28, 28, 1)
DIGITS = tuple("0123456789")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve images answered as 3, from the least certain; image 1 is grey of level 1, and so on."""
    return write(tmp_path / "lenet", [("3", 0.2 + place / 100) for place in range(12)], DIGITS)


def label(folder: Path, *labels: str | None) -> None:
    captures = Captures(folder)
    for each in labels:
        capture = captures.next()
        assert capture is not None
        if each is None:
            captures.discard(capture)
        else:
            captures.label(capture, each)
    captures.close()


def test_labelled_images_alone_are_read(folder: Path) -> None:
    label(folder, "3", "5", None, "5", "3", "3")
    dataset = find_entry(f"capture:{folder}").load(GREY_4, None)
    assert (dataset.name, dataset.labels) == ("capture:lenet", ("3", "5"))
    levels = np.concatenate([dataset.train_images, dataset.test_images])[:, 0, 0, 0].tolist()
    truth = [dataset.labels[place] for place in np.concatenate([dataset.train_labels, dataset.test_labels])]
    assert dict(zip(levels, truth, strict=True)) == {0: "3", 1: "5", 3: "5", 4: "3", 5: "3"}


def test_what_was_taken_back_or_moved_away_does_not_count(folder: Path) -> None:
    label(folder, "3", "3", "5", "5", "5")
    captures = Captures(folder)
    captures.undo()
    captures.close()
    next((folder / "3").glob("0.200*")).unlink()
    found = Capture(folder).labelled()
    assert {name: [path.name[:5] for path in paths] for name, paths in found.items()} == {
        "3": ["0.210"],
        "5": ["0.220", "0.230"],
    }


def test_they_are_added_to_what_another_data_set_trains_with(folder: Path) -> None:
    label(folder, "7", None, "0")
    base = find_entry("sample").load(GREY_28, None)
    dataset = find_entry(f"sample+capture:{folder}").load(GREY_28, None)
    assert dataset.name == "sample+capture:lenet"
    assert np.array_equal(dataset.test_images, base.test_images)
    assert len(dataset.train_images) == len(base.train_images) + 2
    assert dataset.train_images.shape[1:] == (28, 28, 1)
    added = dict(zip(dataset.train_labels[-2:].tolist(), dataset.train_images[-2:].max(axis=(1, 2, 3)), strict=True))
    assert added == {0: 2, 7: 0}
    assert "2 labelled images of lenet added" in dataset.notes


def test_what_cannot_be_trained_with_is_explained(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InvalidDataset, match=r"no image is labelled; expected labels.csv, which `covey label .*` writes"
    ):
        find_entry(f"capture:{folder}").load(GREY_28, None)
    label(folder, "3", "3")
    with pytest.raises(InvalidDataset, match=r"all labelled images are of one class, 3; .* NAME\+capture:"):
        find_entry(f"capture:{folder}").load(GREY_28, None)
    with pytest.raises(MissingDataset, match="is no folder"):
        find_entry(f"capture:{tmp_path / 'none'}").load(GREY_28, None)
    with pytest.raises(UnknownName, match=r"no data set is named 'captures'.*capture:PATH"):
        find_entry("captures")
    for name in ("cat", "dog"):
        Image.new("L", (4, 4)).save(write(tmp_path / "pets", [(name, 0.5)] * 2) / name / "1.png")
    with pytest.raises(InvalidDataset, match="has labels that folder:pets has not: 3; expected some of its 2 classes"):
        find_entry(f"folder:{tmp_path / 'pets'}+capture:{folder}").load(GREY_28, None)
    next((folder / "3").glob("0.200*")).write_bytes(b"damaged")
    with pytest.raises(InvalidDataset, match=r"1 file cannot be read, the first is .*0\.200.*--unreadable skip"):
        find_entry(f"sample+capture:{folder}").load(GREY_28, None)
    skipped = find_entry(f"sample+capture:{folder}", unreadable="skip").load(GREY_28, None)
    assert len(skipped.train_images) == 6001
