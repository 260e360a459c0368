"""Owns what lies beside a published model: report.json, history.csv, MODEL_CARD.md and report.html.

Each is replaced in one step.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from covey_export import model_card as cards
from covey_export.datasets import Dataset
from covey_export.datasets.dataset import Images
from covey_export.errors import ReportFailed
from covey_export.evaluation import predict
from covey_export.image_classifier import ImageClassifier
from covey_export.reports import findings, history, layers, model_card, report_page
from covey_export.reports.progress import ProgressReport
from covey_export.trained_model import TrainedModel
from covey_proto import atomic_files, layout
from covey_proto.wording import plural
from covey_reports import language
from covey_server.errors import CoveyServerError
from covey_server.inference import golden, model_file
from covey_server.inference.devices import choose
from covey_server.inference.engine import Engine

FILE = "report.html"
SHOWN_IMAGES = 4
_BATCH = 64


class _PyTorch:
    """A model as the golden check runs one."""

    def __init__(self, model: ImageClassifier) -> None:
        self._model = model

    def run(self, images: Images, /) -> NDArray[np.float32]:
        return predict(self._model, torch.tensor(images))


def write(trained: TrainedModel, folder: Path, report: ProgressReport) -> Path:
    """Writes the report of the version in `folder` (`models/NAME/VERSION`, with model.onnx and verification.json),
    which was made from `trained`. Returns the path of report.html.

    Raises ReportFailed where the folder's model is another one or was never verified, OSError.
    """
    dataset = trained.dataset
    if not (folder / layout.FILE_NAME).is_file():
        raise ReportFailed(f"{folder} holds no {layout.FILE_NAME}; publish the model first (covey convert)")
    report.line(f"report  {plural(len(dataset.test_images), 'test image')}, then the pictures")
    trained, probabilities = _answer(trained, folder)
    found = findings.find(trained.network, trained.checkpoint, dataset, folder, probabilities, trained.parameters)
    recordings = {
        place: layers.record(trained.classifier, dataset.test_images[place])
        for place in _choose_images(probabilities, dataset)
    }
    page = report_page.write_page(found, dataset, probabilities, recordings)
    atomic_files.write_text(folder / findings.FILE, found.to_json())
    atomic_files.write_text(folder / history.FILE, history.to_csv(found.history))
    with language.spoken(language.ENGLISH):  # a card goes with the model, to readers of any language
        card = model_card.write_card(found)
    atomic_files.write_text(folder / cards.FILE, card)
    atomic_files.write_text(folder / FILE, page)
    report.line(f"wrote   {folder / FILE}, {cards.FILE}, {findings.FILE} and {history.FILE}")
    return folder / FILE


def _answer(trained: TrainedModel, folder: Path) -> tuple[TrainedModel, NDArray[np.float32]]:
    """The model as the version has it, and the probabilities `[N, K]` of all test images: PyTorch's, and of a variant
    in another precision the file's own.

    Raises ReportFailed where the file is not of the model that PyTorch computes here: trained anew since, perhaps.
    """
    path, images = folder / layout.FILE_NAME, trained.dataset.test_images
    verified = findings.read_verification(folder)
    try:
        engine = Engine(path, choose("cpu"), threads=1)
        described = model_file.describe(engine)
        trained = trained.as_described(described.info)
        if not verified.is_variant:
            golden.check(_PyTorch(trained.classifier), described.golden)
            return trained, trained.probabilities
        found = trained.accuracy.overall
        if not math.isclose(found, verified.torch_accuracy, abs_tol=1.5 / len(images)):  # an image may be a tie
            raise ReportFailed(
                f"{path} is not of this checkpoint: it was made from one of accuracy {verified.torch_accuracy:.2%}, "
                f"this one has {found:.2%}; convert the checkpoint anew"
            )
        batches = [engine.run(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)]
        return trained, np.concatenate(batches)
    except CoveyServerError as error:
        raise ReportFailed(
            f"{path} is not the model of this checkpoint ({error}); publish the checkpoint as a version of its own "
            f"with covey convert"
        ) from error


def _choose_images(probabilities: NDArray[np.float32], dataset: Dataset) -> list[int]:
    """Places of test images whose way through the network is shown: the first one that gets its class (else the first
    of all), the one that gets it with the least confidence, and the most confident mistakes. SHOWN_IMAGES at most."""
    is_right = probabilities.argmax(axis=1) == dataset.test_labels
    confidence = probabilities.max(axis=1)
    right, wrong = np.flatnonzero(is_right), np.flatnonzero(~is_right)
    doubtful = right[np.argsort(confidence[right], kind="stable")][:1].tolist()
    mistaken = wrong[np.argsort(-confidence[wrong], kind="stable")].tolist()
    return list(dict.fromkeys([int(np.argmax(is_right)), *doubtful, *mistaken]))[:SHOWN_IMAGES]
