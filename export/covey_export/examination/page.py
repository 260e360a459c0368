"""An examination as tables for the terminal, and as a page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from covey_export.examination import corruptions, unknown
from covey_export.reports.drawing import robustness
from covey_reports import canvas
from covey_reports import page as pages
from covey_reports.language import say, words

if TYPE_CHECKING:
    from covey_export.examination.command import Examination

Rows = list[tuple[str, ...]]


def tables(examination: Examination) -> Iterator[tuple[str, tuple[str, ...], Rows]]:
    """Title, header and rows of each table."""
    worse = [
        (say(kind), *(f"{accuracy:.2%}" for accuracy in accuracies))
        for kind, accuracies in examination.robustness.items()
    ]
    strengths = tuple(say("strength {strength}", strength=strength) for strength in corruptions.STRENGTHS)
    unchanged = [(say("unchanged"), f"{examination.accuracy:.2%}", "", "")]
    if examination.mirrored is not None:
        mirrored = say("averaged with their mirror images (not served so)")
        unchanged.append((mirrored, f"{examination.mirrored:.2%}", "", ""))
    yield say("Accuracy on changed images"), (say("images changed by"), *strengths), [*unchanged, *worse]
    scaling = examination.scaling
    yield (
        say("Calibration"),
        (
            "",
            say("as it is"),
            say("divided by a temperature of {temperature:.2f}", temperature=scaling.temperature),
        ),
        [
            (say("expected calibration error"), f"{scaling.error_before:.2%}", f"{scaling.error_after:.2%}"),
            (say("mean loss"), f"{scaling.loss_before:.4f}", f"{scaling.loss_after:.4f}"),
        ],
    )
    yield (
        say("Unknown images"),
        words("unknown images", "score", "false alarms", "misses", "area under the ROC curve"),
        [
            (say(name), say(score), f"{detection.false_alarms:.1%}", f"{detection.misses:.1%}", f"{detection.area:.4f}")
            for name, by_score in examination.detections.items()
            for score, detection in by_score.items()
        ],
    )


@canvas.style()
def write_page(examination: Examination) -> str:
    """The whole page."""
    worse, calibration, unknown_table = tables(examination)
    return pages.write_page(
        "covey_export.reports",
        "examination.html.jinja",
        scripts=("values",),
        title=examination.title,
        subtitle=say(
            "examined with the {images:,} test images of {dataset}, by Covey",
            images=examination.images,
            dataset=examination.dataset,
        ),
        picture=robustness.draw_robustness(examination.accuracy, examination.robustness),
        worse=worse,
        calibration=calibration,
        strange=unknown_table,
        how=corruptions.how(),
        kept=unknown.KEPT,
    )
