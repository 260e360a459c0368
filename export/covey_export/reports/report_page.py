"""report.html: the findings of one version in words, tables and pictures."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from covey_export.datasets import Dataset
from covey_export.reports import diagnosis, figures, sheets
from covey_export.reports.drawing import (
    activation_space,
    classes,
    confusion,
    curves,
    feature_maps,
    kernels,
    reliability,
)
from covey_export.reports.findings import Findings
from covey_export.reports.layers import Recording
from covey_reports import canvas, page
from covey_reports.canvas import Picture
from covey_reports.language import say

Probabilities = NDArray[np.float32]
Choice = list[tuple[str, Picture]]  # pictures of test images, and what each image is called

_SCRIPTS = ("values", "mistakes", "matrix", "tables", "choice", "zoom")  # zoom finds the sheets that others make


@canvas.style()
def write_page(
    found: Findings, dataset: Dataset, probabilities: Probabilities, recordings: Mapping[int, Recording]
) -> str:
    """The whole page; `recordings` are of test images, by their places, the first one to be shown first."""
    mistakes = sheets.mistakes(dataset, probabilities)
    pairs = found.confused_pairs()[: confusion.MAX_PAIRS]
    return page.write_page(
        "covey_export.reports",
        "report.html.jinja",
        scripts=_SCRIPTS,
        title=found.title,
        subtitle=say(
            "{network} on {dataset}, recipe {recipe}: a report by Covey {version}",
            network=found.network,
            dataset=found.dataset,
            recipe=found.recipe,
            version=found.verification.versions.get("covey", ""),
        ),
        found=found,
        measured=figures.rows(found),
        provenance=figures.provenance(found),
        computed_by=figures.computed_by(found),
        size=figures.bytes_in_words(found.size_bytes),
        diagnosis=diagnosis.diagnose(found.history, len(found.labels)),
        curves=curves.draw_curves(found.history) if found.history else None,
        pictures=_draw(found),
        reliability=reliability.draw_reliability(found.calibration),
        kernels=_kernels(recordings),
        maps=_maps(dataset, probabilities, recordings),
        space=_space(dataset, probabilities, recordings),
        epochs=[
            (
                place,
                f"{epoch.loss:.4f}",
                "" if epoch.test_loss is None else f"{epoch.test_loss:.4f}",
                f"{epoch.train_accuracy:.2%}",
                "" if epoch.test_accuracy is None else f"{epoch.test_accuracy:.2%}",
                "" if epoch.seconds is None else f"{epoch.seconds:,.1f}",
            )
            for place, epoch in enumerate(found.history, start=1)
        ],
        confused_pairs=[
            (found.labels[true], found.labels[predicted], f"{images:,}", f"{images / found.class_images[true]:.1%}")
            for true, predicted, images in pairs
        ],
        classes=[
            (number, label, figures.share(accuracy), f"{images:,}")
            for number, (label, accuracy, images) in enumerate(
                zip(found.labels, found.class_accuracy, found.class_images, strict=True)
            )
        ],
        mistakes=mistakes,
        first_mistakes=sheets.MAX_FIRST,
        mistaken_labels={
            number: found.labels[number]
            for number in sorted({int(tile.facts[name]) for tile in mistakes for name in ("true", "predicted")})
        },
        samples=sheets.samples(dataset, probabilities),
    )


def _draw(found: Findings) -> dict[str, Picture | None]:
    """None where there is nothing to draw."""
    has_matrix = len(found.labels) <= confusion.MAX_CLASSES
    return {
        "confusion": confusion.draw_confusion(found) if has_matrix else None,
        "pairs": confusion.draw_confused_pairs(found) if found.mistakes and not has_matrix else None,
        "classes": classes.draw_class_accuracy(found),
    }


def _kernels(recordings: Mapping[int, Recording]) -> Picture | None:
    found = next(iter(recordings.values())).kernels  # the same, whatever the image
    return kernels.draw_kernels(found) if found else None


def _maps(dataset: Dataset, probabilities: Probabilities, recordings: Mapping[int, Recording]) -> Choice:
    return [
        (
            name,
            feature_maps.draw_feature_maps(
                say("Test image {name}", name=name), dataset.test_images[place], recording, f"maps-{at}"
            ),
        )
        for at, (place, recording) in enumerate(recordings.items())
        if recording.layers
        for name in (_name(dataset, probabilities, place),)
    ]


def _space(dataset: Dataset, probabilities: Probabilities, recordings: Mapping[int, Recording]) -> Choice:
    draw = activation_space.draw_activation_space
    return [
        (
            _name(dataset, probabilities, place),
            draw(dataset.test_images[place], recording, probabilities[place], dataset.labels, f"space-{at}"),
        )
        for at, (place, recording) in enumerate(recordings.items())
        if recording.layers
    ]


def _name(dataset: Dataset, probabilities: Probabilities, place: int) -> str:
    truth, guess = int(dataset.test_labels[place]), int(probabilities[place].argmax())
    if guess == truth:
        return f"{place} ({dataset.labels[truth]})"
    return say(
        "{place} ({truth}, taken for {guess})", place=place, truth=dataset.labels[truth], guess=dataset.labels[guess]
    )
