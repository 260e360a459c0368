"""An examination as tables for the terminal, and as a page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from covey_export.examination import corruptions, unknown
from covey_export.reports.drawing import robustness
from covey_reports import canvas
from covey_reports import page as pages

if TYPE_CHECKING:
    from covey_export.examination.command import Examination

Rows = list[tuple[str, ...]]


def tables(found: Examination) -> Iterator[tuple[str, tuple[str, ...], Rows]]:
    """(title, header, rows) of each."""
    worse = [(kind, *(f"{each:.2%}" for each in accuracies)) for kind, accuracies in found.robustness.items()]
    strengths = tuple(f"strength {strength}" for strength in corruptions.STRENGTHS)
    unchanged = [("unchanged", f"{found.accuracy:.2%}", "", "")]
    if found.mirrored is not None:
        unchanged.append(("averaged with their mirror images (not served so)", f"{found.mirrored:.2%}", "", ""))
    yield "Accuracy on changed images", ("images changed by", *strengths), [*unchanged, *worse]
    scaling = found.scaling
    yield (
        "Calibration",
        ("", "as it is", f"divided by a temperature of {scaling.temperature:.2f}"),
        [
            ("expected calibration error", f"{scaling.error_before:.2%}", f"{scaling.error_after:.2%}"),
            ("mean loss", f"{scaling.loss_before:.4f}", f"{scaling.loss_after:.4f}"),
        ],
    )
    yield (
        "Unknown images",
        ("unknown images", "score", "false alarms", "misses", "area under the ROC curve"),
        [
            (name, score, f"{each.false_alarms:.1%}", f"{each.misses:.1%}", f"{each.area:.4f}")
            for name, by_score in found.detections.items()
            for score, each in by_score.items()
        ],
    )


@canvas.style()
def write_page(found: Examination) -> str:
    """The whole page."""
    worse, calibration, strange = tables(found)
    return pages.write_page(
        "covey_export.reports",
        "examination.html.jinja",
        scripts=("values",),
        title=found.title,
        subtitle=f"examined with the {found.images:,} test images of {found.dataset}, by Covey",
        picture=robustness.draw_robustness(found.accuracy, found.robustness),
        worse=worse,
        calibration=calibration,
        strange=strange,
        how=corruptions.HOW,
        kept=unknown.KEPT,
    )
