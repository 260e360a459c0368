"""MODEL_CARD.md: the headings of Mitchell et al., Model cards for model reporting (2019), filled with what is known
and no more."""

from __future__ import annotations

import re

from covey_export.reports import figures
from covey_export.reports.findings import Findings
from covey_proto.wording import plural
from covey_reports import page

FILE = "MODEL_CARD.md"
_MAX_CLASSES = 30  # rows of a table; of more classes the weakest


def write_card(found: Findings) -> str:
    """The whole file, as Markdown."""
    labels = found.labels
    by_accuracy = sorted((share, place) for place, share in enumerate(found.class_accuracy) if share is not None)
    weakest = [place for _, place in by_accuracy[:_MAX_CLASSES]]
    more = f" and {len(labels) - _MAX_CLASSES:,} more" if len(labels) > _MAX_CLASSES else ""
    return page.write_markdown(
        "covey_export.reports",
        "model_card.md.jinja",
        _escape,
        found=found,
        figures=figures.rows(found),
        class_count=plural(len(labels), "class", "classes"),
        image_count=plural(found.test_images, "test image"),
        named=", ".join(labels[:_MAX_CLASSES]) + more,
        weakest=", ".join(f"{labels[place]} ({share:.1%})" for share, place in by_accuracy[:3]),
        classes=[
            (labels[place], figures.share(found.class_accuracy[place]), found.class_images[place])
            for place in (range(len(labels)) if len(labels) <= _MAX_CLASSES else weakest)
        ],
    )


def _escape(value: object) -> str:
    """Any text as Markdown that shows it, on one line."""
    escaped = re.sub(r"([\\`*_{}\[\]|#])", r"\\\1", " ".join(str(value).split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
