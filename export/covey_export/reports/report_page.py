"""report.html: the findings of one version in words, tables and pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from covey_export.datasets import Dataset
from covey_export.reports import figures, sheets
from covey_export.reports.drawing import (
    activation_space,
    classes,
    confusion,
    curves,
    feature_maps,
    kernels,
    reliability,
)
from covey_export.reports.elements import Html, details, table
from covey_export.reports.findings import Findings
from covey_export.reports.layers import Recording
from covey_export.reports.page import Section, lead, page, paragraph, show
from covey_proto.wording import plural

Probabilities = NDArray[np.float32]


def write_page(
    findings: Findings, dataset: Dataset, probabilities: Probabilities, recording: Recording, shown: int
) -> str:
    """The whole page; `recording` is of the test image at the place `shown`. Call it inside `canvas.style()`."""
    verified = findings.verification
    opening = [
        lead(
            [
                ("accuracy on the test images", f"{verified.onnxruntime_accuracy:.2%}"),
                ("disagreements with PyTorch", f"{verified.disagreements} of {verified.images:,}"),
                ("parameters", f"{findings.parameters:,}"),
                ("size", figures.bytes_in_words(findings.size_bytes)),
                ("calibration error", f"{findings.calibration.error:.2%}"),
                ("training", f"{findings.seconds:,.0f} s"),
            ]
        )
    ]
    sections = [
        Section("Figures", [table(("", ""), figures.rows(findings), numbers_from=2)]),
        Section("Training", _training(findings)),
        Section("Confusion matrix", _confusion(findings)),
        Section("Accuracy by class", _classes(findings)),
        Section("Most confident mistakes", _mistakes(dataset, probabilities)),
        Section("Samples", _samples(dataset)),
        Section("First layer", _kernels(recording)),
        Section("Feature maps", _maps(dataset, recording, shown)),
        Section("Activations in space", _space(dataset, recording, probabilities, shown)),
        Section("Calibration", _calibration(findings)),
    ]
    return page(
        findings.title,
        f"{findings.network} on {findings.dataset}, recipe {findings.recipe}: a report by Covey "
        f"{verified.versions.get('covey', '')}",
        opening,
        sections,
        f"Accuracies by class, mistakes and probabilities are those of {findings.computed_by}; the model file was held "
        f"against PyTorch on the whole test set. report.json beside this file has all numbers, MODEL_CARD.md the "
        f"model's card.",
    )


def _training(findings: Findings) -> list[Html]:
    if not findings.history:
        return [paragraph("Nothing was trained: the history has 0 epochs.")]
    caption = (
        "Loss and accuracy on the training images are measured while the weights change, with dropout where the "
        "network has it, and on augmented images where the recipe augments: they may be worse than on the test images. "
        "Label smoothing makes the training loss larger, too."
    )
    rows = [
        (
            str(place),
            f"{epoch.loss:.4f}",
            "" if epoch.test_loss is None else f"{epoch.test_loss:.4f}",
            f"{epoch.train_accuracy:.2%}",
            f"{epoch.test_accuracy:.2%}",
        )
        for place, epoch in enumerate(findings.history, start=1)
    ]
    header = ("epoch", "training loss", "test loss", "training accuracy", "test accuracy")
    return [show(curves.draw_curves(findings.history), caption), details("All epochs as a table", table(header, rows))]


def _confusion(findings: Findings) -> list[Html]:
    labels, pairs = findings.labels, findings.confused_pairs()
    parts: list[Html] = []
    if len(labels) <= confusion.MAX_CLASSES:
        parts.append(
            show(
                confusion.draw_confusion(findings),
                "Rows are the true classes, columns the predicted ones; colour is the share of the row.",
            )
        )
    if not pairs:
        return [*parts, paragraph("No test image got a wrong class.")]
    if len(labels) > confusion.MAX_CLASSES:
        parts.append(
            paragraph(f"A matrix of {len(labels):,} classes could not be read; these are the most confused pairs.")
        )
        parts.append(
            show(confusion.draw_confused_pairs(findings), "How many images of one class were taken for another.")
        )
    rows = [
        (labels[true], labels[predicted], f"{images:,}", f"{images / findings.class_images[true]:.1%}")
        for true, predicted, images in pairs[: confusion.PAIRS]
    ]
    header = ("true class", "predicted class", "images", "share of the class")
    parts.append(details("The most confused pairs as a table", table(header, rows, numbers_from=2)))
    return parts


def _classes(findings: Findings) -> list[Html]:
    rows = [
        (str(number), label, figures.share(accuracy), f"{images:,}")
        for number, (label, accuracy, images) in enumerate(
            zip(findings.labels, findings.class_accuracy, findings.class_images, strict=True)
        )
    ]
    empty = sum(images == 0 for images in findings.class_images)
    caption = "Share of each class's test images that got their class."
    if empty:
        caption += f" Without test images: {empty} of {len(findings.labels):,} classes; nothing is known of these."
    return [
        show(classes.draw_class_accuracy(findings), caption),
        details("All classes as a table", table(("number", "class", "accuracy", "test images"), rows, numbers_from=2)),
    ]


def _mistakes(dataset: Dataset, probabilities: Probabilities) -> list[Html]:
    places = sheets.choose_mistakes(dataset, probabilities)
    if not places:
        return [paragraph(f"None: all {plural(len(dataset.test_images), 'test image')} got their class.")]
    return [
        paragraph("Bold: the predicted class and its probability; below: the true class and the probability it got."),
        sheets.draw_mistakes(dataset, probabilities, places),
    ]


def _samples(dataset: Dataset) -> list[Html]:
    return [paragraph("Test images and their classes, as the data set has them."), sheets.draw_samples(dataset)]


def _kernels(recording: Recording) -> list[Html]:
    if recording.kernels is None:
        return [
            paragraph(
                "Left out: no convolution or linear layer works on the image's own pixels, so there are no weights "
                "that could be seen as images."
            )
        ]
    found = recording.kernels
    count, height, width, channels = found.values.shape
    each = "each" if count > 1 else "in it"
    which = f"{count} of {found.total:,} kernels" if count < found.total else f"All {count} kernels"
    which = "The only kernel" if found.total == 1 else which
    colours = "as colours, grey is zero" if channels == 3 else "orange is below zero, purple above, white is zero"
    return [
        show(
            kernels.draw_kernels(found),
            f"{which} of {found.name} ({found.kind}), {height}x{width} weights {each}: {colours}.",
        )
    ]


def _maps(dataset: Dataset, recording: Recording, shown: int) -> list[Html]:
    if not recording.layers:
        return [paragraph("Left out: no layer of this network is a module of its own whose output could be seen.")]
    label = dataset.labels[int(dataset.test_labels[shown])]
    left_out = recording.layers_in_all - len(recording.layers)
    caption = (
        f"Test image {shown} ({label}) on its way through the network, in the order in which layers run. In each "
        f"layer dark is its smallest number, yellow its largest."
    )
    if left_out:
        caption += f" {len(recording.layers)} of {recording.layers_in_all} layers are shown."
    return [show(feature_maps.draw_feature_maps(dataset.test_images[shown], recording), caption)]


def _space(dataset: Dataset, recording: Recording, probabilities: Probabilities, shown: int) -> list[Html]:
    if not recording.layers:
        return [paragraph("Left out, as the feature maps.")]
    picture = activation_space.draw_activation_space(
        dataset.test_images[shown], recording, probabilities[shown], dataset.labels
    )
    few = min(len(dataset.labels), activation_space.MAX_BARS)
    bars = "the class probabilities" if few == len(dataset.labels) else f"the {few} largest probabilities"
    return [
        show(
            picture, f"The same image: some of each layer's maps as planes, one behind the other; last, {bars} as bars."
        )
    ]


def _calibration(findings: Findings) -> list[Html]:
    found = findings.calibration
    return [
        paragraph(
            f"Expected calibration error {found.error:.2%}; mean confidence {found.mean_confidence:.2%}, accuracy "
            f"{findings.accuracy:.2%}. By Guo, Pleiss, Sun, Weinberger: On calibration of modern neural networks "
            f"(2017), with {len(found.bins)} bins of equal width: the distance between confidence and accuracy of each "
            f"bin, weighted by its images."
        ),
        show(
            reliability.draw_reliability(found),
            "Bars on the dotted line: the model is right as often as its probabilities say. Bars below it: it is too "
            "sure of itself. The lower chart counts images, on a logarithmic axis.",
        ),
    ]
