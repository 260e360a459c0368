"""report.html: the findings of one version in words, tables and pictures."""

from __future__ import annotations

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

Probabilities = NDArray[np.float32]


@canvas.style()
def write_page(
    found: Findings, dataset: Dataset, probabilities: Probabilities, recording: Recording, shown: int
) -> str:
    """The whole page; `recording` is of the test image at the place `shown`."""
    pairs = found.confused_pairs()[: confusion.MAX_PAIRS]
    return page.write_page(
        "covey_export.reports",
        "report.html.jinja",
        title=found.title,
        subtitle=f"{found.network} on {found.dataset}, recipe {found.recipe}: a report by Covey "
        f"{found.verification.versions.get('covey', '')}",
        found=found,
        figures=figures.rows(found),
        size=figures.bytes_in_words(found.size_bytes),
        diagnosis=diagnosis.diagnose(found.history, len(found.labels)),
        pictures=_draw(found, dataset, probabilities, recording, shown),
        epochs=[
            (
                place,
                f"{epoch.loss:.4f}",
                "" if epoch.test_loss is None else f"{epoch.test_loss:.4f}",
                f"{epoch.train_accuracy:.2%}",
                "" if epoch.test_accuracy is None else f"{epoch.test_accuracy:.2%}",
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
        mistakes=sheets.mistakes(dataset, probabilities),
        samples=sheets.samples(dataset),
    )


def _draw(
    found: Findings, dataset: Dataset, probabilities: Probabilities, recording: Recording, shown: int
) -> dict[str, Picture | None]:
    """None where there is nothing to draw."""
    image, label = dataset.test_images[shown], dataset.labels[int(dataset.test_labels[shown])]
    name = f"Test image {shown} ({label})"
    has_matrix = len(found.labels) <= confusion.MAX_CLASSES
    space = activation_space.draw_activation_space
    return {
        "curves": curves.draw_curves(found.history) if found.history else None,
        "confusion": confusion.draw_confusion(found) if has_matrix else None,
        "pairs": confusion.draw_confused_pairs(found) if found.mistakes and not has_matrix else None,
        "classes": classes.draw_class_accuracy(found),
        "kernels": kernels.draw_kernels(recording.kernels) if recording.kernels else None,
        "maps": feature_maps.draw_feature_maps(name, image, recording) if recording.layers else None,
        "space": space(image, recording, probabilities[shown], dataset.labels) if recording.layers else None,
        "reliability": reliability.draw_reliability(found.calibration),
    }
