"""The report of a really published model, and what a browser makes of it."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
from pathlib import Path

import matplotlib
import pytest
import torch
from tests.export.recorded_report import RecordedReport, tree
from tests.export.reports.test_report_page import assert_self_contained

from covey_export import publication, reports
from covey_export.checkpoint import Checkpoint
from covey_export.datasets import Dataset
from covey_export.errors import InvalidCheckpoint, ReportFailed
from covey_export.networks import NETWORKS
from covey_export.publication import Published
from covey_export.trained_model import TrainedModel

MLP = NETWORKS["mlp"]
FILES = {"model.onnx", "verification.json", "report.html", "report.json", "MODEL_CARD.md"}


@pytest.fixture
def version_folder(published: Published, tmp_path: Path) -> Path:
    """A copy of the published version, to be written into."""
    folder = tmp_path / "models" / "mlp" / "1"
    shutil.copytree(published.path.parent, folder)
    return folder


def write(checkpoint: Checkpoint, dataset: Dataset, folder: Path) -> Path:
    return reports.write(TrainedModel(MLP, checkpoint, dataset), folder, RecordedReport())


def test_report_of_a_published_model(
    trained: Checkpoint, small: Dataset, published: Published, version_folder: Path
) -> None:
    path = write(trained, small, version_folder)

    assert path == version_folder / "report.html"
    assert tree(version_folder) == FILES
    assert_self_contained(path.read_text(encoding="utf-8"))
    found = json.loads((version_folder / "report.json").read_text())
    assert found["accuracy"] == published.verification.torch_accuracy
    assert len(found["history"]) == 3
    assert found["size_bytes"] == published.path.stat().st_size
    assert found["parameters"] == published.info.training.parameters
    assert sum(images for _, _, images in found["confusion"]) == len(small.test_images)
    assert len(found["mistakes"]) == round((1 - found["accuracy"]) * len(small.test_images))


def test_written_again_nothing_changes(trained: Checkpoint, small: Dataset, version_folder: Path) -> None:
    """And the user's own settings of matplotlib stay."""
    with matplotlib.rc_context({"font.size": 33}):
        write(trained, small, version_folder)
        assert matplotlib.rcParams["font.size"] == 33
    before = {name: (version_folder / name).read_bytes() for name in FILES}

    write(trained, small, version_folder)

    assert {name: (version_folder / name).read_bytes() for name in FILES} == before


def test_two_published_versions_compared(trained: Checkpoint, small: Dataset, tmp_path: Path) -> None:
    """The second was trained by other means: here its last layer is left as it began."""
    models = tmp_path / "models"
    weights = {**trained.model, "classifier.3.bias": torch.zeros(10), "classifier.3.weight": torch.zeros(10, 256)}
    weights["classifier.3.bias"][3] = 1
    other = dataclasses.replace(trained, model=weights)
    for checkpoint in (trained, other):
        publication.publish(TrainedModel(MLP, checkpoint, small), models, "mlp", RecordedReport())
    write(trained, small, models / "mlp" / "1")
    write(other, small, models / "mlp" / "2")

    first, second = (reports.find_version_folder(text, models) for text in ("mlp/1", "mlp"))
    text = reports.compare(first, second, tmp_path / "compare.html").read_text(encoding="utf-8")

    assert_self_contained(text)
    assert "mlp version 1 is right on more images, more than chance explains" in text


def test_checkpoint_of_another_model_is_refused(trained: Checkpoint, small: Dataset, version_folder: Path) -> None:
    other = dataclasses.replace(trained, model={name: value * 1.1 for name, value in trained.model.items()})
    before = tree(version_folder)

    with pytest.raises(ReportFailed, match="is not the model of this checkpoint"):
        write(other, small, version_folder)
    assert tree(version_folder) == before


def test_checkpoint_of_other_images_is_refused(trained: Checkpoint, small: Dataset, version_folder: Path) -> None:
    fewer = dataclasses.replace(small, test_images=small.test_images[1:], test_labels=small.test_labels[1:])

    with pytest.raises(InvalidCheckpoint, match="not the same ones"):
        write(trained, fewer, version_folder)


def test_folder_without_a_model_is_refused(trained: Checkpoint, small: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ReportFailed, match=r"holds no model\.onnx; publish the model first"):
        write(trained, small, tmp_path)


def test_variant_of_another_checkpoint_is_refused(trained: Checkpoint, small: Dataset, version_folder: Path) -> None:
    """A variant's answers are its own, so it is known by the accuracy of the checkpoint that it was made from."""
    path = version_folder / "verification.json"
    said = json.loads(path.read_text())
    path.write_text(json.dumps({**said, "precision": "int8"}))
    write(trained, small, version_folder)
    assert json.loads((version_folder / "report.json").read_text())["verification"]["precision"] == "int8"

    path.write_text(json.dumps({**said, "precision": "int8", "torch_accuracy": said["torch_accuracy"] - 0.1}))
    with pytest.raises(ReportFailed, match="is not of this checkpoint"):
        write(trained, small, version_folder)


def _chromium() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next((path for path in map(shutil.which, names) if path), None)


@pytest.mark.skipif(_chromium() is None, reason="no Chromium on this machine")
def test_browser_shows_the_page_without_a_complaint(
    trained: Checkpoint, small: Dataset, version_folder: Path, tmp_path: Path
) -> None:
    """Nothing on the console, the whole page in the document. As a counter-check, a page that complains is heard."""
    path = write(trained, small, version_folder)
    complaining = tmp_path / "complaining.html"
    complaining.write_text('<!DOCTYPE html><title>x</title><img src="missing.png"><script>console.error("no")</script>')

    document, console = _open(path, tmp_path)
    _, heard = _open(complaining, tmp_path)

    assert console == []
    assert document.count('<svg role="img"') == 7
    assert "</footer>" in document
    assert heard


def _open(path: Path, scratch: Path) -> tuple[str, list[str]]:
    """The document that headless Chromium made of the page, and the lines of its console."""
    chromium = _chromium()
    assert chromium is not None
    command = [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
    command += [f"--user-data-dir={scratch / 'browser'}", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]
