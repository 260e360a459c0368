"""MODEL_CARD.md: the headings of Mitchell et al., Model cards for model reporting (2019). What a model's maker and what
an import knows of it is filled in elsewhere (reports/model_card.py, importing/card.py); nothing else is claimed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from covey_proto.wording import plural

FILE = "MODEL_CARD.md"
_MAX_CLASSES = 30  # rows of a table; of more classes the weakest
_WEAKEST = 3
_HEADINGS = (
    "The headings are those of Mitchell et al., *Model Cards for Model Reporting* (2019). What is not known to Covey "
    "is not written here."
)
_FILE = "The file takes uint8 pixels and gives a probability for each class; normalisation and activation are inside."


@dataclass(frozen=True)
class ModelCard:
    """The sections. `details` are names and values as they are; all other texts are Markdown, in which values went
    through `escape`."""

    title: str
    details: Sequence[tuple[str, str]]
    intended_use: str
    factors: str
    metrics: str
    evaluation_data: str
    training_data: str
    analyses: str
    caveats: Sequence[str]

    def markdown(self) -> str:
        """The whole file."""
        parts = [
            f"# {escape(self.title)}",
            _HEADINGS,
            "## Model details",
            table(("", ""), self.details),
            _FILE,
            *("## Intended use", self.intended_use),
            *("## Factors", self.factors),
            *("## Metrics", self.metrics),
            *("## Evaluation data", self.evaluation_data),
            *("## Training data", self.training_data),
            *("## Quantitative analyses", self.analyses),
            "## Ethical considerations",
            "None were examined. Where images show people, or an answer decides about people, examine them first.",
            *("## Caveats and recommendations", "\n".join(f"- {caveat}" for caveat in self.caveats)),
        ]
        return "\n\n".join(parts) + "\n"


def escape(value: object) -> str:
    """Any text as Markdown that shows it, on one line."""
    escaped = re.sub(r"([\\`*_{}\[\]|#])", r"\\\1", " ".join(str(value).split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Cells as they are, escaped."""
    lines = [f"| {' | '.join(map(escape, header))} |", f"|{' --- |' * len(header)}"]
    return "\n".join([*lines, *(f"| {' | '.join(map(escape, row))} |" for row in rows)])


def first(labels: Sequence[str]) -> str:
    """The first of the labels, and how many more there are."""
    more = f" and {len(labels) - _MAX_CLASSES:,} more" if len(labels) > _MAX_CLASSES else ""
    return ", ".join(labels[:_MAX_CLASSES]) + more


def class_table(labels: Sequence[str], accuracy: Sequence[float | None], images: Sequence[int], kind: str) -> str:
    """Accuracy (0 to 1; None: no images) and images of each class, of many classes of the weakest."""
    places: Sequence[int] = range(len(labels))
    if len(labels) > _MAX_CLASSES:
        places = _by_accuracy(accuracy)[:_MAX_CLASSES]
    rows = [(labels[each], _share(accuracy[each], kind), f"{images[each]:,}") for each in places]
    return table(("class", "accuracy", kind), rows)


def shown_classes(labels: Sequence[str], accuracy: Sequence[float | None]) -> int:
    """How many rows `class_table` has."""
    return len(labels) if len(labels) <= _MAX_CLASSES else min(_MAX_CLASSES, len(_by_accuracy(accuracy)))


def weakest(labels: Sequence[str], accuracy: Sequence[float | None]) -> str:
    """Those with the least accuracy; escaped."""
    shares = [(labels[each], accuracy[each] or 0.0) for each in _by_accuracy(accuracy)[:_WEAKEST]]
    return escape(", ".join(f"{label} ({share:.1%})" for label, share in shares))


def always_one_of(labels: Sequence[str], *, tells_unknown: bool = False) -> str:
    """The caveat that holds for every classifier with exclusive classes."""
    says = (
        "answers below its threshold are marked as unknown, which many images of other things escape"
        if tells_unknown
        else 'nothing in it says "none of them"'
    )
    return (
        f"It knows {plural(len(labels), 'class', 'classes')} ({escape(first(labels))}) and gives every image one of "
        f"these, whatever it shows: {says}."
    )


def holds_for(images: str) -> str:
    """The caveat about other images; `images` is escaped already."""
    return (
        f"The figures hold for images like {images}. Of images from elsewhere nothing was measured: measure it on "
        f"images of your own before you rely on it."
    )


def _by_accuracy(accuracy: Sequence[float | None]) -> list[int]:
    """The places of the classes with images, the weakest first."""
    return [place for _, place in sorted((share, place) for place, share in enumerate(accuracy) if share is not None)]


def _share(value: float | None, kind: str) -> str:
    return f"no {kind}" if value is None else f"{value:.2%}"
