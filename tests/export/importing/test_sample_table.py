"""Labelled samples by CSV: a row for each image, of its file and its label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.export.importing.imports import published, refused
from tests.export.importing.onnx_models import CLASSES, SIZE, save, small_cnn

from covey_export.errors import InvalidSamples
from covey_export.importing.proving import samples

LABELS = ("cat", "dog, domestic", "Größe", "鳥", "a b")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with 0.png to 9.png."""
    folder = tmp_path / "photos"
    (folder / "in here").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (10, SIZE, SIZE, 3), dtype=np.uint8)
    for place, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{place}.png")
        Image.fromarray(image).save(folder / "in here" / f"größe, {place}.png")
    return folder


def write(folder: Path, text: str, name: str = "labels.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


@pytest.mark.parametrize(
    "text",
    [
        "0.png,cat\n1.png,dog\n2.png,cat\n",
        "\ufefffile,label\r\n0.png,cat\r\n1.png,dog\r\n\r\n2.png,cat\r\n",
        "Label,width,Image Path\ncat,3,0.png\ndog,3,1.png\ncat,3,2.png\n",
        "0.png;cat\n1.png;dog\n2.png;cat\n",
        "0.png\tcat\n1.png\tdog\n2.png\tcat\n",
        "0.png, cat\n 1.png ,dog\n./2.png,cat",
    ],
)
def test_kinds_of_tables(text: str, photos: Path) -> None:
    files = samples.find(write(photos, text))
    assert [file.name for file in files.files] == ["0.png", "2.png", "1.png"]
    assert (files.classes, files.class_of, files.problems) == (("cat", "dog"), (0, 0, 1), ())


def test_names_with_commas_folders_and_windows_separators(photos: Path) -> None:
    text = '"in here/größe, 1.png","dog, domestic"\nin here\\größe\\, 2.png,x\n"in here\\größe, 3.png",鳥\n'
    text += f"{photos / '4.png'},cat\n"
    files = samples.find(write(photos, text))
    assert files.classes == ("cat", "dog, domestic", "鳥")
    assert [file.name for file in files.files] == ["4.png", "größe, 1.png", "größe, 3.png"]
    assert len(files.problems) == 1


def test_numbers_are_outputs_in_the_order_of_numbers(photos: Path) -> None:
    files = samples.find(write(photos, "0.png,10\n1.png,2\n2.png,0\n"))
    assert files.classes == ("0", "2", "10")
    assert samples.match(files.classes, [f"x{place}" for place in range(11)]) == [0, 2, 10]


def test_bad_rows_are_a_sentence_each(photos: Path) -> None:
    rows = ["0.png,cat", "1.png", ",dog", "none.png,dog", "0.png,dog", "0.png,cat", "2.png,", "3.png,dog"]
    files = samples.find(write(photos, "\n".join(rows)))
    assert files.classes == ("cat", "dog")
    assert files.problems == (
        "labels.csv, row 2: expected a file and a label, got '1.png'",
        "labels.csv, row 3: expected a file and a label, got ',dog'",
        f"labels.csv, row 4: there is no file 'none.png' in {photos}, where the table lies",
        "labels.csv, row 5: has 0.png as 'dog', in row 1 it is 'cat'; this row is left out",
        "labels.csv, row 6: has 0.png once more; row 1 is taken",
        "labels.csv, row 7: expected a file and a label, got '2.png,'",
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "such as cat/1.jpg,cat, found none"),
        ("file,label\n", "such as cat/1.jpg,cat, found none"),
        ("cat,0.png\ndog,1.png\n", "found none that can be used in 2 rows: labels.csv, row 1: there is no file 'cat'"),
        ("just text\n", "labels.csv, row 1: expected a file and a label, got 'just text'"),
    ],
)
def test_tables_that_are_wrong(text: str, expected: str, photos: Path) -> None:
    with pytest.raises(InvalidSamples) as caught:
        samples.find(write(photos, text))
    assert expected in str(caught.value)


def test_an_image_in_place_of_a_table(photos: Path) -> None:
    (photos / "labels.csv").write_bytes((photos / "0.png").read_bytes())
    with pytest.raises(InvalidSamples, match="its bytes are something else"):
        samples.find(photos / "labels.csv")
    with pytest.raises(InvalidSamples, match=r"0\.png is no folder; expected a folder of images, one with a folder"):
        samples.find(photos / "0.png")


def test_a_table_gives_accuracy_and_golden_set(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "file,label\n" + "".join(f"{place}.png,{place % CLASSES}\n" for place in range(10)) + "x.png,1\n"
    options = ("--samples", write(photos, text), "--labels", "cat,dog,bird,fish,cow")
    served = published(save(small_cnn(), photos), photos / "models", *options)
    output = capsys.readouterr().out
    assert "accuracy on the 10 labelled images: " in output
    assert "note: left out: labels.csv, row 12: there is no file 'x.png'" in output
    assert (served.description.info.training.test_images, len(served.description.golden.pixels)) == (10, 10)


def test_labels_that_the_network_does_not_have(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = save(small_cnn(), photos)
    table = write(photos, "0.png,cat\n1.png,dgo\n2.png,9\n")
    published(source, photos / "models", "--samples", table, "--labels", "cat,dog,bird,fish,cow")
    output = capsys.readouterr().out
    assert (
        "labels.csv, row 2: 'dgo' is no label of the network (did you mean 'dog'?); such images count as wrong"
        in output
    )
    assert "labels.csv, row 3: '9' is no label" in output
    table = write(photos, "0.png,x\n1.png,y\n")
    message = refused(source, photos / "models", capsys, "--samples", table, "--labels", "cat,dog,bird,fish,cow")
    assert "expected the network's labels (cat, dog, bird, fish, cow) or their numbers, got x, y" in message


def test_check_takes_a_table_too(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write(photos, "".join(f"{place}.png,{LABELS[place % CLASSES].split(',')[0]}\n" for place in range(10)))
    labels = write(photos, "\n".join(LABELS), "labels.txt")
    published(save(small_cnn(), photos), photos / "models", "--check", table, "--labels", labels)
    assert f"The original on 10 images of {table}, fed in other ways" in capsys.readouterr().out
