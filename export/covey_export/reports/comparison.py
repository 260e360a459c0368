"""compare.html: two published versions side by side, from their report.json files alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from covey_export import atomic_files
from covey_export.reports import figures, findings
from covey_export.reports.drawing import canvas, classes, confusion, curves, reliability
from covey_export.reports.elements import Html, details, element, escape, table
from covey_export.reports.findings import Findings
from covey_export.reports.page import Section, lead, note, page, paragraph, show
from covey_proto.wording import plural

_CERTAIN = 0.05  # below, a difference is more than chance
_MAX_SIDE_BY_SIDE = 12  # classes up to which two matrices have room side by side
_HALF_INCHES = 5.0  # of such a matrix


@dataclass(frozen=True)
class Pairing:
    """What two models make of the same test images."""

    both_wrong: int
    only_first_right: int
    only_second_right: int

    @property
    def chance(self) -> float:
        """How probable so uneven a split, or a more uneven one, is where neither model is better: the exact
        two-sided sign test on the images that only one of them got right (McNemar 1947)."""
        few, many = sorted((self.only_first_right, self.only_second_right))
        split = few + many
        ways = as_uneven = 1  # to choose `count` of `split`, from 0 on; and those so far
        for count in range(few):
            ways = ways * (split - count) // (count + 1)
            as_uneven += ways
        return min(1.0, 2 * as_uneven / (1 << split))


def pair(first: Findings, second: Findings) -> Pairing | None:
    """None where the test images are not the same."""
    if first.images_digest != second.images_digest:
        return None
    wrong, also = set(first.mistakes), set(second.mistakes)
    return Pairing(len(wrong & also), len(also - wrong), len(wrong - also))


def compare(first: Path, second: Path, target: Path) -> Path:
    """Writes the comparison of two version folders, each with its report.json, into the file `target`; returns it.

    Raises ReportFailed where a folder has no report, OSError.
    """
    one, two = findings.read(first), findings.read(second)
    names = _names(one, two)
    with canvas.style():
        text = _write_page(one, two, names)
    atomic_files.write_text(target, text)
    return target


def _names(one: Findings, two: Findings) -> tuple[str, str]:
    if one.title == two.title:  # of two models folders
        return (f"{one.title} (first)", f"{two.title} (second)")
    return (one.title, two.title)


def _write_page(one: Findings, two: Findings, names: tuple[str, str]) -> str:
    change = two.verification.onnxruntime_accuracy - one.verification.onnxruntime_accuracy
    opening = [
        lead(
            [
                (f"accuracy, {names[0]}", f"{one.verification.onnxruntime_accuracy:.2%}"),
                (f"accuracy, {names[1]}", f"{two.verification.onnxruntime_accuracy:.2%}"),
                ("difference", f"{_signed(change * 100, '.2f')} points"),
                ("size of the second", f"{two.size_bytes / one.size_bytes:.2f} x the first"),
            ]
        ),
        *(note(text) for text in _warnings(one, two, names)),
    ]
    sections = [
        Section("Figures", [_figures(one, two, names)]),
        Section("Image by image", _pairing(one, two, names)),
        Section("Training", _training(one, two, names)),
        Section("Accuracy by class", _classes(one, two, names)),
        Section("Confusion matrices", _confusion(one, two, names)),
        Section("Calibration", _calibration(one, two, names)),
    ]
    return page(
        f"{names[0]} and {names[1]}",
        f"{one.network} on {one.dataset} beside {two.network} on {two.dataset}: a comparison by Covey",
        opening,
        sections,
        "From the report.json files of both versions.",
    )


def _warnings(one: Findings, two: Findings, names: tuple[str, str]) -> list[str]:
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
            f"{two.dataset}, "
            f"{two.test_images:,}): a difference of their accuracies may come from these."
        )
        return [text]
    return []


def _figures(one: Findings, two: Findings, names: tuple[str, str]) -> Html:
    values, others = dict(figures.rows(one)), dict(figures.rows(two))
    rows = [
        (name, values.get(name, "not measured"), others.get(name, "not measured"), _difference(name, one, two))
        for name in dict.fromkeys([*values, *others])
    ]
    return table(("", *names, "difference"), rows)


def _difference(name: str, one: Findings, two: Findings) -> str:
    """The second's less the first's, or by what factor it is larger, where that says something."""
    if name.startswith("accuracy, as served"):
        change = two.verification.onnxruntime_accuracy - one.verification.onnxruntime_accuracy
        return f"{_signed(change * 100, '.2f')} points"
    if name == "expected calibration error":
        return f"{_signed((two.calibration.error - one.calibration.error) * 100, '.2f')} points"
    pairs = {
        "parameters": (one.parameters, two.parameters),
        "size of model.onnx": (one.size_bytes, two.size_bytes),
        "training": (one.seconds, two.seconds),
    }
    before, after = pairs.get(name, (0, 0))
    return f"{after / before:.2f} x" if before and after else ""


def _pairing(one: Findings, two: Findings, names: tuple[str, str]) -> list[Html]:
    found = pair(one, two)
    if found is None:
        return [paragraph("The test images are not the same, so answers cannot be paired.")]
    rows = [
        ("both right", f"{one.test_images - found.both_wrong - found.only_first_right - found.only_second_right:,}"),
        (f"only {names[0]} right", f"{found.only_first_right:,}"),
        (f"only {names[1]} right", f"{found.only_second_right:,}"),
        ("both wrong", f"{found.both_wrong:,}"),
    ]
    if found.only_first_right == found.only_second_right:
        said = "Neither is better on these images."
    else:
        better = names[found.only_second_right > found.only_first_right]
        verdict = "more than chance explains" if found.chance < _CERTAIN else "which may well be chance"
        said = (
            f"{better} is right on more images, {verdict}: p = {found.chance:.2g} (exact sign test on the "
            f"{found.only_first_right + found.only_second_right:,} images that only one of the two got right)."
        )
    return [table(("test images", ""), rows), paragraph(said)]


def _training(one: Findings, two: Findings, names: tuple[str, str]) -> list[Html]:
    if not (one.history or two.history):
        return [paragraph("Neither was trained: both histories have 0 epochs.")]
    picture = curves.draw_two_curves(names, (one.history, two.history))
    return [show(picture, "Losses of different recipes (label smoothing, for one) do not compare; accuracies do.")]


def _classes(one: Findings, two: Findings, names: tuple[str, str]) -> list[Html]:
    theirs = dict(zip(two.labels, two.class_accuracy, strict=True))
    rows = [
        (label, mine, other)
        for label, mine in zip(one.labels, one.class_accuracy, strict=True)
        for other in (theirs.get(label),)
        if mine is not None and other is not None
    ]
    if not rows:
        return [paragraph("There is no class that both know and have test images of.")]
    by_change = sorted(rows, key=lambda row: row[1] - row[2])
    gained = [row for row in by_change if row[2] > row[1]]
    lost = [row for row in reversed(by_change) if row[2] < row[1]]
    shown, which = rows, "Every class that both know."
    if len(rows) > classes.MAX_ROWS:
        half = classes.MAX_ROWS // 2
        shown = [*by_change[:half], *by_change[-half:]]
        which = f"The {half} classes that gained most and the {half} that lost most, of {len(rows):,}."
    header = ("class", *names, "difference in points")
    cells = [
        (label, f"{mine:.2%}", f"{other:.2%}", _signed((other - mine) * 100, ".2f")) for label, mine, other in by_change
    ]
    return [
        paragraph(
            element("b", f"Gained with {names[1]} ({len(gained)}): ", class_="good"),
            _changes(gained),
            Html("<br>"),
            element("b", f"Lost ({len(lost)}): ", class_="bad"),
            _changes(lost),
            Html("<br>"),
            f"Unchanged: {len(rows) - len(gained) - len(lost)}.",
        ),
        show(classes.draw_two_class_accuracies(names, shown), which),
        details("All classes as a table", table(header, cells)),
    ]


def _changes(rows: list[tuple[str, float, float]]) -> Html:
    return escape(_listed([f"{label} ({_signed((other - mine) * 100, '.1f')})" for label, mine, other in rows]) + ".")


def _confusion(one: Findings, two: Findings, names: tuple[str, str]) -> list[Html]:
    if max(len(one.labels), len(two.labels)) > confusion.MAX_CLASSES:
        return [paragraph("Left out: a matrix of so many classes could not be read. The reports list confused pairs.")]
    are_few = max(len(one.labels), len(two.labels)) <= _MAX_SIDE_BY_SIDE
    width_inches = _HALF_INCHES if are_few else canvas.WIDTH_INCHES
    shown = [
        show(
            confusion.draw_confusion(found, f"confusion-{place}", width_inches),
            f"{name}: rows are the true classes, columns the predicted ones.",
        )
        for place, (found, name) in enumerate(zip((one, two), names, strict=True))
    ]
    return [element("div", *shown, class_="pair")] if are_few else shown


def _calibration(one: Findings, two: Findings, names: tuple[str, str]) -> list[Html]:
    picture = reliability.draw_two_reliabilities(names, (one.calibration, two.calibration))
    return [
        show(
            picture,
            f"Points on the dotted line are right as often as they say. Expected calibration error (ECE) after Guo et "
            f"al. 2017, {len(one.calibration.bins)} bins.",
        )
    ]


def _listed(names: list[str], most: int = 12) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return (", ".join(names[:most]) + more) or "none"


def _signed(number: float, form: str) -> str:
    """+0.25; a plain 0.00 where nothing changed."""
    text = format(number, f"+{form}")
    return text.lstrip("+-") if not float(text) else text.replace("-", "\u2212")
