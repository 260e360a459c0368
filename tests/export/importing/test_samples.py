"""The images an import is compared on: given ones, with labels by their folders, or made ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.export.importing.imports import published, refused
from tests.export.importing.onnx_models import SIZE, save, small_cnn

from covey_export.importing.proving import samples


def write(folder: Path, count: int = 3, *, seed: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (count, SIZE + seed, SIZE, 3), dtype=np.uint8)
    for place, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{place}.png")


def by_class(folder: Path, names: list[str]) -> Path:
    for place, name in enumerate(names):
        write(folder / name, seed=place)
    return folder


def test_images_without_labels(tmp_path: Path) -> None:
    write(tmp_path / "photos", 20)
    served = published(save(small_cnn(), tmp_path), tmp_path / "models", "--samples", tmp_path / "photos")
    info = served.description.info
    assert (info.source.samples, info.source.golden_is_made) == (20, False)
    assert not info.HasField("training")
    assert len(served.description.golden.pixels) == 16  # not all of them: they are in the file


def test_folders_give_the_accuracy_and_where_labels_are_missing_their_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["b", "a", "Gro\u0308ße", "c", "d"]
    photos = by_class(tmp_path / "photos", names)
    (photos / "a" / "broken.png").write_bytes(b"no image")
    served = published(save(small_cnn(), tmp_path), tmp_path / "models", "--samples", photos)
    output = capsys.readouterr().out
    assert served.description.labels == ("Größe", "a", "b", "c", "d")
    assert "assumed are the classes of" in output
    assert "a/broken.png" in output
    training = served.description.info.training
    assert training.test_images == 15
    record = json.loads((tmp_path / "models/net/1/import.json").read_text())
    assert record["accuracy"] == training.test_accuracy
    assert record["compared_on"] == {"images": 15, "made": False, "place": "photos"}
    assert f"accuracy on the 15 labelled images: {training.test_accuracy:.2%}" in output


def test_guessing_is_warned_of_and_check_is_not_advised_to_who_gave_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, source = by_class(tmp_path / "photos", list("abcde")), save(small_cnn(), tmp_path)
    published(source, tmp_path / "models", "--samples", photos)
    warning = "warning: that is no better than guessing among 5 classes: "
    assert f"{warning}the preprocessing or the order of the labels is wrong; --check DIR" in capsys.readouterr().out
    published(source, tmp_path / "models", "--labels", "a,b,c,d,e", "--check", photos, version=2)
    assert f"{warning}no usual preprocessing or order of the labels does clearly better" in capsys.readouterr().out


def test_an_accuracy_that_is_too_low_is_not_published(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = by_class(tmp_path / "photos", list("abcde"))
    options = ("--samples", photos, "--min-accuracy", "0.99")
    message = refused(save(small_cnn(), tmp_path), tmp_path / "models", capsys, *options)
    assert "--min-accuracy asks for 99.00%; it is not published" in message


@pytest.mark.parametrize(
    ("classes", "labels", "expected"),
    [
        (["dog", "cat"], ["cat", "dog"], [1, 0]),
        (["Dog", "tabby_cat"], ["tabby cat, house cat", "dog, hound"], [1, 0]),
        (["0", "10", "2"], [f"x{place}" for place in range(11)], [0, 10, 2]),
        (["0", "1"], ["1", "0"], [1, 0]),
        (["dog", "bird"], ["cat", "dog"], [1, -1]),
    ],
)
def test_folders_and_labels(classes: list[str], labels: list[str], expected: list[int]) -> None:
    assert samples.match(classes, labels) == expected


def test_folders_that_are_no_labels_give_images_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = by_class(tmp_path / "photos", ["holiday", "work"])
    served = published(save(small_cnn(), tmp_path), tmp_path / "models", "--samples", photos)
    assert not served.description.info.HasField("training")
    assert "its images are taken without labels" in capsys.readouterr().out


def test_folders_without_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "notes.txt").write_text("x")
    source = save(small_cnn(), tmp_path)
    message = refused(source, tmp_path / "models", capsys, "--samples", tmp_path / "photos")
    assert "expected images, found none; left out 1 .txt" in message
    write(tmp_path / "photos")
    message = refused(source, tmp_path / "models", capsys, "--check", tmp_path / "photos")
    assert "expected one folder of images for each class" in message


def test_made_images_are_the_same_at_each_call_and_differ_from_each_other() -> None:
    first, second = samples.make((SIZE, SIZE, 3)), samples.make((SIZE, SIZE, 3))
    assert np.array_equal(first.images, second.images)
    assert len({image.tobytes() for image in first.images}) == samples.MADE


def test_networks_that_answer_all_images_alike_are_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = small_cnn()
    for tensor in model.graph.initializer:
        if tensor.name == "matrix":
            tensor.raw_data = bytes(len(tensor.raw_data))
    published(save(model, tmp_path), tmp_path / "models")
    assert "gives nearly the same probabilities for all of these images" in capsys.readouterr().out
