"""Two versions side by side, and which versions are meant."""

from __future__ import annotations

import math
import re
import time
from pathlib import Path

import numpy as np
import pytest
from tests.export.reports.cases import THREE_EPOCHS, make_case
from tests.export.reports.test_report_page import long_labels
from tests.reports.pages import Page, assert_self_contained, pictures

from covey_export.datasets import Dataset
from covey_export.errors import MissingDataset, ReportFailed, UnknownName
from covey_export.reports import comparison
from covey_export.reports.pairing import Pairing, pair
from covey_export.reports.version_folders import find_version_folder

TRUTH = np.repeat(np.arange(3), 4)
LABELS = ("crow", "owl", "tit")


def answers(*wrong: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """All twelve images right but those at the places `wrong`, which get the next class."""
    classes = TRUTH.copy()
    classes[list(wrong)] = (classes[list(wrong)] + 1) % 3
    return (np.eye(3, dtype=np.float32) * 0.7 + 0.1)[classes]


def no_images(folder: Path, dataset: str) -> Dataset:
    raise MissingDataset(f"{dataset} is not on this machine")


def compare(*folders_and_target: Path) -> Path:
    """Without the images."""
    *folders, target = folders_and_target
    return comparison.compare(folders, target, no_images)


def read(path: Path) -> tuple[str, str]:
    """The page, and its words alone."""
    text = path.read_text(encoding="utf-8")
    return text, " ".join(" ".join(Page(text).texts).split())


def test_two_versions(tmp_path: Path) -> None:
    """The second wins crow (1 of 4 images), loses two of owl, and tit stays."""
    first = make_case(tmp_path, LABELS, test_labels=TRUTH, probabilities=answers(0, 8))
    second = make_case(
        tmp_path,
        LABELS,
        test_labels=TRUTH,
        probabilities=answers(4, 5, 9),
        version=2,
        history=THREE_EPOCHS[:1],
        onnxruntime_accuracy=0.75,
    )

    path = compare(first.write_json(tmp_path), second.write_json(tmp_path), tmp_path / "compare.html")

    assert path == tmp_path / "compare.html"
    text, words = read(path)
    assert_self_contained(text)
    assert pictures(text) == [
        "compared-losses",
        "compared-accuracies",
        "compared-classes",
        "confusion-0",
        "confusion-1",
        "compared-reliabilities",
    ]
    assert "Gained with bird-net version 2 (1): crow (+25.0)." in words
    assert "Lost (1): owl (\u221250.0)." in words
    assert "Unchanged: 1." in words
    assert "+25.00 points" in words
    assert pair(first.findings, second.findings) == Pairing(
        both_right=7, only_first_right=3, only_second_right=2, both_wrong=0
    )
    assert "p = 1 (exact sign test on the 5 images" in words


def test_several_versions(tmp_path: Path) -> None:
    """The first is what the others are compared with; classes that differ most come first."""
    found = [
        make_case(tmp_path, LABELS, test_labels=TRUTH, probabilities=answers(*wrong), version=place)
        for place, wrong in enumerate([(0, 8), (8, 9, 10), (4,)], 1)
    ]

    text, words = read(compare(*(each.write_json(tmp_path) for each in found), tmp_path / "compare.html"))

    assert_self_contained(text)
    assert pictures(text)[2:] == [
        "compared-classes",
        "confusion-0",
        "confusion-1",
        "confusion-2",
        "compared-reliabilities",
    ]
    assert "A comparison" not in words
    first, second, third = (f"bird-net version {place}" for place in (1, 2, 3))
    assert f"beside {first} both right only the first right only this one right both wrong" in words
    assert f"{second} 8 2 1 1 {third} 9 1 2 0" in words
    assert (
        f"{third} is right on more images than {first}, which may well be chance: p = 1 (exact sign test on the 3"
        in words
    )
    assert "only one of the two got right, times the 2 pairs of this page)" in words
    assert re.findall(r"(crow|owl|tit) [\d.]+% [\d.]+% [\d.]+% ([\d.]+)", words) == [
        ("tit", "75.00"),
        ("crow", "25.00"),
        ("owl", "25.00"),
    ]
    assert "Left out: folder:birds is not on this machine" in words


@pytest.mark.parametrize(("few", "many"), [(0, 1), (3, 9), (20, 41), (50, 50)])
def test_chance_is_the_binomial_sum(few: int, many: int) -> None:
    split = few + many
    tail = sum(math.comb(split, count) for count in range(few + 1))
    assert Pairing(0, many, few, 0).chance == min(1.0, 2 * tail / 2**split)


def test_chance_of_many_answers_takes_no_time() -> None:
    began = time.process_time()
    assert Pairing(0, 4_900, 5_100, 0).chance == pytest.approx(0.0465, abs=1e-4)
    assert time.process_time() - began < 2


def test_chance_by_hand() -> None:
    """Of 10 images that only one got right, 1 against 9: 2 * (1 + 10) / 1024."""
    assert Pairing(0, 1, 9, 0).chance == pytest.approx(22 / 1024)
    assert Pairing(5, 3, 3, 0).chance == 1
    assert Pairing(0, 0, 0, 0).chance == 1
    assert 0 < Pairing(0, 1000, 1200, 0).chance < 1e-4


def test_different_classes_are_said(tmp_path: Path) -> None:
    first = make_case(tmp_path, LABELS)
    second = make_case(tmp_path, ("owl", "tit", "wren"), name="other")

    _, words = read(compare(first.write_json(tmp_path), second.write_json(tmp_path), tmp_path / "compare.html"))

    different = "not known to all, bird-net version 1: crow; not known to all, other version 1: wren"
    assert f"The models know different classes ({different})." in words
    assert "The test images are not the same, so answers cannot be paired." in words


def test_no_class_in_common(tmp_path: Path) -> None:
    first = make_case(tmp_path, ("a", "b"), history=())
    second = make_case(tmp_path, ("c", "d"), name="other", history=())

    _, words = read(compare(first.write_json(tmp_path), second.write_json(tmp_path), tmp_path / "compare.html"))

    assert "There is no class that all know and have test images of." in words
    assert "None was trained" in words


def test_thousand_classes(tmp_path: Path) -> None:
    first = make_case(tmp_path, long_labels(1000))
    second = make_case(tmp_path, long_labels(1000), version=2, probabilities=first.probabilities[::-1].copy())

    text, words = read(compare(first.write_json(tmp_path), second.write_json(tmp_path), tmp_path / "compare.html"))

    assert_self_contained(text)
    assert "a matrix of so many classes could not be read" in words
    assert "The 20 classes that gained most and the 20 that lost most, of 1,000." in words


def test_different_images_are_said_and_names_of_two_models_folders_differ(tmp_path: Path) -> None:
    first = make_case(tmp_path / "one", LABELS)
    second = make_case(tmp_path / "two", LABELS, (9, 9, 1))

    _, words = read(
        compare(first.write_json(tmp_path / "one"), second.write_json(tmp_path / "two"), tmp_path / "compare.html")
    )

    assert "The models were tested on different images" in words
    assert "bird-net version 1 (number 1) and bird-net version 1 (number 2)" in words


def test_version_without_a_report(tmp_path: Path) -> None:
    folder = make_case(tmp_path, LABELS).write_json(tmp_path)

    with pytest.raises(ReportFailed, match=r"report\.json does not exist; write it with `covey report`"):
        compare(folder, tmp_path / "bird-net", tmp_path / "compare.html")
    assert not (tmp_path / "compare.html").exists()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for name, version in (("lenet", 1), ("lenet", 2), ("lenet", 10), ("mlp", 1)):
        folder = tmp_path / "models" / name / str(version)
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(b"x")
    return tmp_path / "models"


def test_name_means_the_highest_version(models: Path) -> None:
    assert find_version_folder("lenet", models) == models / "lenet" / "10"


def test_name_and_version(models: Path) -> None:
    assert find_version_folder("lenet/2", models) == models / "lenet" / "2"


def test_paths(models: Path) -> None:
    elsewhere = models.parent / "nothing"
    for text in ("mlp", "mlp/1", "mlp/1/model.onnx"):
        assert find_version_folder(str(models / text), elsewhere) == models / "mlp" / "1"


def test_unknown_model_offers_the_nearest(models: Path) -> None:
    with pytest.raises(UnknownName, match=r"is named 'lennet'\. Did you mean lenet\? There are: lenet, mlp, in "):
        find_version_folder("lennet", models)


def test_unknown_version_names_those_there_are(models: Path) -> None:
    with pytest.raises(UnknownName, match="lenet has no version 3; there are: 1, 2, 10"):
        find_version_folder("lenet/3", models)


def test_folder_without_a_model(models: Path) -> None:
    with pytest.raises(ReportFailed, match=r"holds no model\.onnx; expected a folder models/NAME/VERSION"):
        find_version_folder(str(models.parent), models)


def test_no_models_at_all(tmp_path: Path) -> None:
    with pytest.raises(ReportFailed, match="holds no models, and lenet is no folder"):
        find_version_folder("lenet", tmp_path / "models")
