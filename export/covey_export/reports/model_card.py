"""MODEL_CARD.md: the headings of Mitchell et al., Model cards for model reporting (2019), filled with what is known
and no more."""

from __future__ import annotations

import re
from collections.abc import Sequence

from covey_export.reports import figures
from covey_export.reports.findings import Findings
from covey_proto.wording import plural

FILE = "MODEL_CARD.md"
_MAX_CLASSES = 30  # rows of a table; of more classes the weakest


def write_card(findings: Findings) -> str:
    """The whole file, as Markdown."""
    data, licence = _text(findings.dataset), _text(findings.licence)
    classes = plural(len(findings.labels), "class", "classes")
    parts = [
        _section(
            f"# {_text(findings.title)}",
            "The headings are those of Mitchell et al., *Model Cards for Model Reporting* (2019). What is not known to "
            "Covey is not written here.",
        ),
        _section(
            "## Model details",
            _table(("", ""), figures.rows(findings)),
            "The file takes uint8 pixels and gives a probability for each class; normalisation and softmax are inside.",
        ),
        _section(
            "## Intended use",
            f"Classifying images of the kind in {data} into its {classes}. For what else it was made, and by whom, "
            f"is for its maker to write here.",
        ),
        _section(
            "## Factors",
            "The classes are the only groups by which the figures are split; nothing else is known of the images.",
        ),
        _section(
            "## Metrics",
            f"Accuracy: the share of test images whose most probable class is theirs, in all and by class. Expected "
            f"calibration error (Guo et al. 2017, {len(findings.calibration.bins)} bins): how far the probabilities "
            f"are from how often they are right. Largest difference and disagreements: the model file against PyTorch.",
        ),
        _section(
            "## Evaluation data",
            f"{plural(findings.test_images, 'test image')} of {data}; licence: {licence}. They were not trained on, "
            f"but the "
            f"accuracy on them was shown after each epoch.",
        ),
        _section("## Training data", _training_data(findings, data, licence)),
        _section(
            "## Quantitative analyses",
            f"Accuracy {findings.verification.onnxruntime_accuracy:.2%} on "
            f"{plural(findings.test_images, 'test image')}; "
            f"expected calibration error {findings.calibration.error:.2%} at a mean confidence of "
            f"{findings.calibration.mean_confidence:.2%}.",
            *_class_table(findings),
            "Training curves, confusion matrix, mistakes and reliability diagram: report.html beside this file.",
        ),
        _section(
            "## Ethical considerations",
            "None were examined. Where images show people, or an answer decides about people, examine them first.",
        ),
        _section("## Caveats and recommendations", "\n".join(f"- {limit}" for limit in _limits(findings))),
    ]
    return "\n".join(parts)


def _training_data(findings: Findings, data: str, licence: str) -> str:
    text = f"{findings.train_images:,} training images of {data}; licence: {licence}."
    if findings.started_from:
        text += f" The training began with the weights of {_text(findings.started_from)}."
    return text if findings.history else f"{text} Nothing was learned from them: the training has 0 epochs."


def _limits(findings: Findings) -> list[str]:
    labels = findings.labels
    named = ", ".join(_text(label) for label in labels[:_MAX_CLASSES])
    more = f" and {len(labels) - _MAX_CLASSES:,} more" if len(labels) > _MAX_CLASSES else ""
    weakest = ", ".join(f"{_text(labels[place])} ({share:.1%})" for share, place in _weakest_first(findings)[:3])
    every = (
        f"It knows {plural(len(labels), 'class', 'classes')} ({named}{more}) and gives every image one of these, "
        f"whatever it shows: "
        f'nothing in it says "none of them".'
    )
    elsewhere = (
        f"The figures hold for images like the test images of {_text(findings.dataset)}. Of images from elsewhere "
        f"nothing was measured: measure it on images of your own before you rely on it."
    )
    return [every, elsewhere, f"Weakest classes: {weakest}."]


def _weakest_first(findings: Findings) -> list[tuple[float, int]]:
    """(accuracy, class) of all classes with test images."""
    return sorted((share, place) for place, share in enumerate(findings.class_accuracy) if share is not None)


def _class_table(findings: Findings) -> list[str]:
    are_all = len(findings.labels) <= _MAX_CLASSES
    weakest = [place for _, place in _weakest_first(findings)[:_MAX_CLASSES]]
    rows = [
        (findings.labels[place], figures.share(findings.class_accuracy[place]), f"{findings.class_images[place]:,}")
        for place in (range(len(findings.labels)) if are_all else weakest)
    ]
    above = f"The {len(rows)} weakest of {len(findings.labels):,} classes; report.json has all."
    return [*([] if are_all else [above]), _table(("class", "accuracy", "test images"), rows)]


def _section(heading: str, *paragraphs: str) -> str:
    return "\n\n".join([heading, *paragraphs]) + "\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}"]
    return "\n".join([*lines, *(f"| {' | '.join(_text(cell) for cell in row)} |" for row in rows)])


def _text(text: str) -> str:
    """Any text as Markdown that shows it, on one line."""
    escaped = re.sub(r"([\\`*_{}\[\]|#])", r"\\\1", " ".join(text.split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
