"""`covey examine`: three tables about a published model, and a page."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np

from covey_export.architecture import subject as subjects
from covey_export.datasets import Dataset, find_entry
from covey_export.datasets.dataset import Images
from covey_export.errors import ExportError, InvalidDataset, MissingDataset
from covey_export.examination import corruptions, page, temperature, unknown
from covey_export.examination.answers import Scorer, Scores
from covey_export.examination.temperature import Scaling
from covey_export.examination.unknown import Detection
from covey_export.reports.progress import ProgressReport
from covey_export.training.augmentation import of_family
from covey_proto import atomic_files
from covey_reports import language
from covey_server.images.input_spec import InputSpec

MIN_IMAGES = 100  # of which halves can be judged


@dataclass(frozen=True)
class Examination:
    """The results of an examination. `robustness` has accuracies by kind, strength by strength; `detections` are by the
    set of unknown images and by score. `mirrored` is the accuracy of an image's scores averaged with those of its
    mirror image, None where images may not be mirrored."""

    title: str
    dataset: str
    images: int
    accuracy: float
    mirrored: float | None
    robustness: dict[str, list[float]]
    scaling: Scaling
    detections: dict[str, dict[str, Detection]]


def run(options: argparse.Namespace, report: ProgressReport) -> None:
    """Prints the tables and writes the page. Raises ExportError and its kinds."""
    subject = subjects.of_file(options.model, dataset=options.dataset, data_dir=options.data_dir)
    dataset = subject.dataset
    if dataset is None or subject.path is None or subject.spec is None:
        raise ExportError("name the data set that the model was trained on with --dataset")
    if len(dataset.test_images) < MIN_IMAGES:
        raise InvalidDataset(
            f"{dataset.name} has {len(dataset.test_images)} test images; expected {MIN_IMAGES} or more"
        )
    if options.dataset in options.unknown:
        raise ExportError(
            f"--unknown {options.dataset} is the data set that the model knows; name one of other classes"
        )
    unknown_images = {name: _unknown_images(name, options, subject.spec) for name in options.unknown}
    examination = examine(subject.title, Scorer(subject.path), dataset, unknown_images, report)
    with language.spoken(options.lang):
        for title, header, rows in page.tables(examination):
            report.table(title, header, rows)
        atomic_files.write_text(options.output, page.write_page(examination))
    report.line(f"wrote   {options.output}")


def examine(
    title: str, scorer: Scorer, dataset: Dataset, unknown_images: dict[str, Images], report: ProgressReport
) -> Examination:
    """Classifies the test images unchanged and changed, and images of no known class."""
    images, labels = dataset.test_images, dataset.test_labels
    with report.doing("classifying the test images"):
        scores = scorer.scores(images)
    mirrored = None
    if of_family(dataset.family).flip:
        with report.doing("classifying their mirror images"):
            flipped = scorer.scores(np.ascontiguousarray(images[:, :, ::-1]))
        mirrored = _accuracy(scores + flipped, dataset)
    robustness = {}
    for kind, worsen in corruptions.KINDS.items():
        accuracies = []
        for strength in corruptions.STRENGTHS:
            with report.doing(f"classifying them with {kind} of strength {strength}"):
                accuracies.append(_accuracy(scorer.scores(worsen(images, strength)), dataset))
        robustness[kind] = accuracies
    detections = {}
    for name, images_of_none in {**unknown.synthetic_images(images), **unknown_images}.items():
        with report.doing(f"classifying {name}"):
            unknown_scores = scorer.scores(images_of_none)
        detections[name] = {
            score: unknown.detect(certainty(scores), certainty(unknown_scores))
            for score, certainty in unknown.CERTAINTIES.items()
        }
    return Examination(
        title,
        dataset.name,
        len(images),
        _accuracy(scores, dataset),
        mirrored,
        robustness,
        temperature.scale(scores, labels),
        detections,
    )


def _accuracy(scores: Scores, dataset: Dataset) -> float:
    return float(np.mean(scores.argmax(axis=1) == dataset.test_labels))


def _unknown_images(name: str, options: argparse.Namespace, spec: InputSpec) -> Images:
    """The test images of another data set, prepared like the model's own."""
    try:
        images = find_entry(name).load(spec, options.data_dir).test_images
    except MissingDataset as error:
        raise MissingDataset(f"--unknown {name}: {error}") from error
    if images.shape[1:] != spec.shape:
        raise InvalidDataset(
            f"--unknown {name} has images of {images.shape[1:]}, the model takes {spec.shape}; name one of that size, "
            f"or a folder:PATH"
        )
    return images
