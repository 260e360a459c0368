"""The report of a really published model."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import matplotlib
import pytest
import torch
from tests.export.recorded_report import RecordedReport, tree
from tests.reports.pages import assert_self_contained, needs_browser, open_in_browser

from covey_export import publication
from covey_export.checkpoint import Checkpoint
from covey_export.datasets import Dataset
from covey_export.errors import InvalidCheckpoint, ReportFailed
from covey_export.networks import NETWORKS
from covey_export.publication import Published
from covey_export.reports import answers, findings, writing
from covey_export.reports.comparison import compare
from covey_export.reports.version_folders import find_version_folder
from covey_export.trained_model import TrainedModel
from covey_server.inference.engine import Engine

MLP = NETWORKS["mlp"]
FILES = {"model.onnx", "verification.json", "report.html", "report.json", "history.csv", "MODEL_CARD.md"}


@pytest.fixture
def version_folder(published: Published, tmp_path: Path) -> Path:
    """A copy of the published version, to be written into."""
    folder = tmp_path / "models" / "mlp" / "1"
    shutil.copytree(published.path.parent, folder)
    return folder


@pytest.fixture(scope="module")
def written(trained_model: TrainedModel, published: Published, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the published version with its report, which takes seconds to draw. Not to be changed: copy it."""
    folder = tmp_path_factory.mktemp("written") / "mlp" / "1"
    shutil.copytree(published.path.parent, folder)
    with matplotlib.rc_context({"font.size": 33}):
        assert write(trained_model, folder) == folder / "report.html"
        assert matplotlib.rcParams["font.size"] == 33, "the user's own settings stay"
    return folder


def write(model: TrainedModel, folder: Path) -> Path:
    return writing.write(model, folder, RecordedReport())


def guess_of(dataset: Dataset, folder: Path, place: int) -> int:
    return int(Engine(folder / "model.onnx").run(dataset.test_images[place : place + 1]).argmax())


def test_report_of_a_published_model(small: Dataset, published: Published, written: Path) -> None:
    assert tree(written) == FILES
    assert_self_contained((written / "report.html").read_text(encoding="utf-8"))
    found = json.loads((written / "report.json").read_text())
    assert found["accuracy"] == published.verification.torch_accuracy
    assert len(found["history"]) == 3
    assert found["size_bytes"] == published.path.stat().st_size
    assert found["parameters"] == published.info.training.parameters
    assert sum(images for _, _, images in found["confusion"]) == len(small.test_images)
    assert len(found["mistakes"]) == round((1 - found["accuracy"]) * len(small.test_images))


def test_written_again_nothing_changes(trained_model: TrainedModel, written: Path, tmp_path: Path) -> None:
    """Whatever the user's own settings of matplotlib."""
    again = tmp_path / "mlp" / "1"
    shutil.copytree(written, again)

    write(trained_model, again)

    assert {name: (again / name).read_bytes() for name in FILES} == {
        name: (written / name).read_bytes() for name in FILES
    }


def test_two_published_versions_compared(trained: Checkpoint, small: Dataset, written: Path, tmp_path: Path) -> None:
    """The second was trained by other means: here its last layer is left as it began."""
    models = tmp_path / "models"
    weights = {**trained.model, "classifier.3.bias": torch.zeros(10), "classifier.3.weight": torch.zeros(10, 256)}
    weights["classifier.3.bias"][3] = 1
    other = TrainedModel(MLP, dataclasses.replace(trained, model=weights), small)
    shutil.copytree(written, models / "mlp" / "1")
    publication.publish(other, models, "mlp", RecordedReport())
    write(other, models / "mlp" / "2")

    folders = [find_version_folder(text, models) for text in ("mlp/1", "mlp")]
    text = compare(folders, tmp_path / "compare.html", lambda folder, name: small).read_text(encoding="utf-8")

    assert_self_contained(text)
    assert "mlp version 1 is right on more images than mlp version 2, more than chance explains" in text
    found = [findings.read(folder) for folder in folders]
    wrong = [set(each.mistakes) for each in found]
    both = answers.side_by_side(folders, found, small)
    three = int(small.labels.index("3"))
    alike = {place for place in wrong[0] & wrong[1] if guess_of(small, folders[0], place) == three}
    assert (both.differ, both.alike) == (len(wrong[0] | wrong[1]) - len(alike), len(alike))
    assert len(both.shown) == min(answers.MAX_SHOWN, both.differ + both.alike)
    for each in both.shown:
        place = int(each.tile.alt.split()[2].rstrip(","))
        assert [answer.is_right for answer in each.answers] == [place not in each_wrong for each_wrong in wrong]
        assert each.answers[1].text.startswith("3 (")
    assert text.count(">A: ") == text.count(">B: 3 (") == len(both.shown)


def test_images_that_changed_since_are_not_shown(small: Dataset, written: Path, tmp_path: Path) -> None:
    fewer = dataclasses.replace(small, test_images=small.test_images[1:], test_labels=small.test_labels[1:])
    text = compare([written, written], tmp_path / "compare.html", lambda folder, name: fewer).read_text()
    assert "Left out: The images of sample have changed since the models were tested." in text
    assert "mlp version 1 (number 1) and mlp version 1 (number 2): neither is better on these images." in text


def test_checkpoint_of_another_model_is_refused(trained: Checkpoint, small: Dataset, version_folder: Path) -> None:
    other = dataclasses.replace(trained, model={name: value * 1.1 for name, value in trained.model.items()})
    before = tree(version_folder)

    with pytest.raises(ReportFailed, match="is not the model of this checkpoint"):
        write(TrainedModel(MLP, other, small), version_folder)
    assert tree(version_folder) == before


def test_checkpoint_of_other_images_is_refused(trained: Checkpoint, small: Dataset, version_folder: Path) -> None:
    fewer = dataclasses.replace(small, test_images=small.test_images[1:], test_labels=small.test_labels[1:])

    with pytest.raises(InvalidCheckpoint, match="not the same ones"):
        write(TrainedModel(MLP, trained, fewer), version_folder)


def test_folder_without_a_model_is_refused(trained_model: TrainedModel, tmp_path: Path) -> None:
    with pytest.raises(ReportFailed, match=r"holds no model\.onnx; publish the model first"):
        write(trained_model, tmp_path)


def test_variant_of_another_checkpoint_is_refused(trained_model: TrainedModel, version_folder: Path) -> None:
    """A variant's answers are its own, so it is known by the accuracy of the checkpoint that it was made from."""
    path = version_folder / "verification.json"
    said = json.loads(path.read_text())
    path.write_text(json.dumps({**said, "precision": "int8"}))
    write(trained_model, version_folder)
    assert json.loads((version_folder / "report.json").read_text())["verification"]["precision"] == "int8"

    path.write_text(json.dumps({**said, "precision": "int8", "torch_accuracy": said["torch_accuracy"] - 0.1}))
    with pytest.raises(ReportFailed, match="is not of this checkpoint"):
        write(trained_model, version_folder)


@needs_browser
def test_browser_shows_the_page_without_a_complaint(written: Path, tmp_path: Path) -> None:
    document = open_in_browser(written / "report.html", tmp_path)

    assert document.count('<svg role="img"') == 15
    assert "</footer>" in document
