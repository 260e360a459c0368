"""compare.html: two published versions side by side, from their report.json files alone."""

from __future__ import annotations

from pathlib import Path

from covey_export import atomic_files
from covey_export.reports import figures, findings
from covey_export.reports.drawing import classes, confusion, curves, reliability
from covey_export.reports.findings import Findings
from covey_export.reports.pairing import pair
from covey_proto.wording import plural
from covey_reports import canvas, page
from covey_reports.canvas import Picture

_MAX_SIDE_BY_SIDE = 12  # classes up to which two matrices have room side by side
_HALF_INCHES = 5.0  # of such a matrix
_MAX_NAMED = 12  # classes in a sentence

Names = tuple[str, str]
Change = tuple[str, float, float]  # a class, and the accuracy that each of the two has on it


def compare(first: Path, second: Path, target: Path) -> Path:
    """Writes the comparison of two version folders, each with its report.json, into the file `target`; returns it.

    Raises ReportFailed where a folder has no report, OSError.
    """
    atomic_files.write_text(target, _write_page(findings.read(first), findings.read(second)))
    return target


@canvas.style()
def _write_page(one: Findings, two: Findings) -> str:
    names = (one.title, two.title)
    if one.title == two.title:  # of two models folders
        names = (f"{one.title} (first)", f"{two.title} (second)")
    changes = _class_changes(one, two)
    return page.write_page(
        "covey_export.reports",
        "compare.html.jinja",
        scripts=("values", "matrix", "tables"),
        title=f"{names[0]} and {names[1]}",
        subtitle=f"{one.network} on {one.dataset} beside {two.network} on {two.dataset}: a comparison by Covey",
        names=names,
        one=one,
        two=two,
        difference=_points(two.verification.onnxruntime_accuracy - one.verification.onnxruntime_accuracy),
        warnings=_warnings(one, two, names),
        measured=_figures(one, two),
        pairing=pair(one, two),
        curves=curves.draw_two_curves(names, (one.history, two.history)) if one.history or two.history else None,
        classes=[
            (label, f"{mine:.2%}", f"{other:.2%}", _signed((other - mine) * 100, ".2f"))
            for label, mine, other in changes
        ],
        gained=_named([change for change in changes if change[2] > change[1]]),
        lost=_named([change for change in reversed(changes) if change[2] < change[1]]),
        class_dots=_draw_classes(names, changes) if changes else None,
        matrices=_draw_matrices(one, two, names),
        are_side_by_side=_are_few(one, two),
        reliability=reliability.draw_two_reliabilities(names, (one.calibration, two.calibration)),
    )


def _warnings(one: Findings, two: Findings, names: Names) -> list[str]:
    """What makes the two hard to compare."""
    if set(one.labels) != set(two.labels):
        only = [
            f"only {name}: {_listed(sorted(set(mine.labels) - set(other.labels)))}"
            for name, mine, other in zip(names, (one, two), (two, one), strict=True)
            if set(mine.labels) - set(other.labels)
        ]
        text = (
            f"The two models know different classes ({'; '.join(only)}). Their accuracies answer different questions; "
            f"only the classes that both know are set side by side."
        )
        return [text]
    if one.images_digest != two.images_digest:
        text = (
            f"The two were tested on different images ({one.dataset}, {plural(one.test_images, 'test image')}; "
            f"{two.dataset}, {two.test_images:,}): a difference of their accuracies may come from these."
        )
        return [text]
    return []


def _figures(one: Findings, two: Findings) -> list[tuple[str, str, str, str]]:
    """(name, the first's, the second's, difference where that says something)."""
    values, others = (dict([*figures.rows(found), *figures.provenance(found)]) for found in (one, two))
    accuracies = (one.verification.onnxruntime_accuracy, two.verification.onnxruntime_accuracy)
    differences = {
        figures.ACCURACY: _points(accuracies[1] - accuracies[0]),
        figures.CALIBRATION: _points(two.calibration.error - one.calibration.error),
        figures.PARAMETERS: _factor(one.parameters, two.parameters),
        figures.SIZE: _factor(one.size_bytes, two.size_bytes),
        figures.TRAINING: _factor(one.seconds, two.seconds),
    }
    return [
        (name, values.get(name, "not measured"), others.get(name, "not measured"), differences.get(name, ""))
        for name in dict.fromkeys([*values, *others])
    ]


def _class_changes(one: Findings, two: Findings) -> list[Change]:
    """Of the classes that both know and have test images of, those that gained most first."""
    theirs = dict(zip(two.labels, two.class_accuracy, strict=True))
    rows = [
        (label, mine, other)
        for label, mine in zip(one.labels, one.class_accuracy, strict=True)
        for other in (theirs.get(label),)
        if mine is not None and other is not None
    ]
    return sorted(rows, key=lambda row: row[1] - row[2])


def _draw_classes(names: Names, changes: list[Change]) -> Picture:
    if len(changes) <= classes.MAX_ROWS:
        return classes.draw_two_class_accuracies(names, changes, "Every class that both know, the largest gain first.")
    half = classes.MAX_ROWS // 2
    caption = f"The {half} classes that gained most and the {half} that lost most, of {len(changes):,}."
    return classes.draw_two_class_accuracies(names, [*changes[:half], *changes[-half:]], caption)


def _are_few(one: Findings, two: Findings, most: int = _MAX_SIDE_BY_SIDE) -> bool:
    return max(len(one.labels), len(two.labels)) <= most


def _draw_matrices(one: Findings, two: Findings, names: Names) -> list[Picture]:
    if not _are_few(one, two, confusion.MAX_CLASSES):
        return []
    width_inches = _HALF_INCHES if _are_few(one, two) else canvas.WIDTH_INCHES
    return [
        confusion.draw_confusion(
            found,
            f"confusion-{place}",
            f"{name}: rows are the true classes, columns the predicted ones.",
            width_inches,
        )
        for place, (found, name) in enumerate(zip((one, two), names, strict=True))
    ]


def _named(changes: list[Change]) -> dict[str, object]:
    text = _listed([f"{label} ({_signed((other - mine) * 100, '.1f')})" for label, mine, other in changes])
    return {"count": len(changes), "classes": text}


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MAX_NAMED:,} more" if len(names) > _MAX_NAMED else ""
    return (", ".join(names[:_MAX_NAMED]) + more) or "none"


def _points(change: float) -> str:
    return f"{_signed(change * 100, '.2f')} points"


def _factor(before: float, after: float) -> str:
    return f"{after / before:.2f} x" if before and after else ""


def _signed(number: float, form: str) -> str:
    """+0.25; a plain 0.00 where nothing changed."""
    text = format(number, f"+{form}")
    return text.lstrip("+-") if not float(text) else text.replace("-", "\u2212")
