"""compare.html: published versions side by side, from their report.json files and, where the test images are at hand,
what the models answer for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from covey_export.datasets import Dataset
from covey_export.errors import ExportError
from covey_export.reports import figures, findings, sheets
from covey_export.reports.answers import SideBySide, side_by_side
from covey_export.reports.class_changes import ClassChanges
from covey_export.reports.drawing import confusion, curves, reliability
from covey_export.reports.findings import Findings
from covey_export.reports.pairing import Pairing, pair
from covey_proto import atomic_files
from covey_proto.wording import signed
from covey_reports import canvas, page
from covey_reports.canvas import Picture
from covey_reports.language import counted, listing, say

MAX_MODELS = canvas.MAX_SERIES
_MAX_SIDE_BY_SIDE = 12  # classes up to which two matrices have room side by side
_HALF_INCHES = 5.0  # of such a matrix

Load = Callable[[Path, str], Dataset]  # the images that a model in a folder was tested on, from the data set's name


def compare(folders: Sequence[Path], target: Path, load: Load) -> Path:
    """Writes the comparison of two to MAX_MODELS version folders, each with its report.json, into the file `target`;
    returns it. The first is what the others are compared with. Where `load` raises ExportError the page says why no
    answers are shown.

    Raises ReportFailed where a folder has no report, OSError.
    """
    atomic_files.write_text(target, _write_page(folders, [findings.read(folder) for folder in folders], load))
    return target


@canvas.style()
def _write_page(folders: Sequence[Path], found: Sequence[Findings], load: Load) -> str:
    names = _names(found)
    changes = ClassChanges.of(found)
    warnings = _warnings(found, names)
    pairings = [pair(found[0], other) for other in found[1:]]
    answers, no_answers = (None, "") if warnings else _answers(folders, found, load)
    return page.write_page(
        "covey_export.reports",
        "compare.html.jinja",
        scripts=("values", "matrix", "tables", "zoom"),
        title=_joined(names),
        subtitle=say(
            "{models}: a comparison by Covey",
            models=_joined(
                [say("{network} on {dataset}", network=each.network, dataset=each.dataset) for each in found]
            ),
        ),
        names=names,
        found=found,
        difference=_difference(found),
        warnings=warnings,
        measured=_figures(found),
        pairs=_pairs(names, pairings),
        verdicts=[
            each.verdict((names[0], name), len(pairings))
            for name, each in zip(names[1:], pairings, strict=True)
            if each is not None
        ],
        answers=answers,
        first_answers=sheets.MAX_FIRST,
        no_answers=no_answers,
        curves=_curves(found, names),
        changes=changes,
        class_dots=changes.draw(names),
        matrices=_draw_matrices(found, names),
        are_side_by_side=_are_few(found),
        reliability=reliability.draw_compared_reliabilities(names, [each.calibration for each in found]),
    )


def _names(found: Sequence[Findings]) -> tuple[str, ...]:
    """Titles, with a number where two models folders have a version of the same name."""
    counts = Counter(each.title for each in found)
    return tuple(
        say("{title} (number {place})", title=each.title, place=place) if counts[each.title] > 1 else each.title
        for place, each in enumerate(found, 1)
    )


def _warnings(found: Sequence[Findings], names: Sequence[str]) -> list[str]:
    """What makes them hard to compare."""
    common = set.intersection(*(set(each.labels) for each in found))
    if any(set(each.labels) != common for each in found):
        only = [
            say("not known to all, {name}: {labels}", name=name, labels=listing(sorted(set(each.labels) - common)))
            for name, each in zip(names, found, strict=True)
            if set(each.labels) - common
        ]
        text = say(
            "The models know different classes ({only}). Their accuracies answer different questions; only the classes "
            "that all know are set side by side.",
            only="; ".join(only),
        )
        return [text]
    if len({each.images_digest for each in found}) > 1:
        tested = "; ".join(f"{each.dataset}, {counted(each.test_images, 'test image')}" for each in found)
        text = say(
            "The models were tested on different images ({tested}): a difference of their accuracies may come from "
            "these.",
            tested=tested,
        )
        return [text]
    return []


def _answers(folders: Sequence[Path], found: Sequence[Findings], load: Load) -> tuple[SideBySide | None, str]:
    """What they answer for the same images, or why that is not shown."""
    try:
        dataset = load(folders[0], found[0].dataset)
        if dataset.digest != found[0].images_digest:
            return None, say("The images of {dataset} have changed since the models were tested.", dataset=dataset.name)
        return side_by_side(folders, found, dataset), ""
    except ExportError as error:
        return None, str(error)


def _figures(found: Sequence[Findings]) -> list[tuple[str, ...]]:
    """Name, the value of each model, and of two models the difference where that says something."""
    values = [dict([*figures.rows(each), *figures.provenance(each)]) for each in found]
    differences: dict[str, str] = {}
    if len(found) == 2:
        one, two = found
        differences = {
            say(figures.ACCURACY): _difference(found),
            say(figures.CALIBRATION): _points(two.calibration.error - one.calibration.error),
            say(figures.PARAMETERS): _factor(one.parameters, two.parameters),
            say(figures.SIZE): _factor(one.size_bytes, two.size_bytes),
            say(figures.TRAINING): _factor(one.seconds, two.seconds),
        }
    return [
        (
            name,
            *(each.get(name, say("not measured")) for each in values),
            *([differences.get(name, "")] if differences else []),
        )
        for name in dict.fromkeys(name for each in values for name in each)
    ]


def _pairs(names: Sequence[str], pairings: Sequence[Pairing | None]) -> list[tuple[str, ...]]:
    """Each model beside the first: name, and test images that both, only the first, only it, and neither got right."""
    return [
        (
            name,
            *(
                f"{count:,}"
                for count in (each.both_right, each.only_first_right, each.only_second_right, each.both_wrong)
            ),
        )
        for name, each in zip(names[1:], pairings, strict=True)
        if each is not None
    ]


def _curves(found: Sequence[Findings], names: Sequence[str]) -> tuple[Picture, Picture] | None:
    histories = [each.history for each in found]
    return curves.draw_compared_curves(names, histories) if any(histories) else None


def _are_few(found: Sequence[Findings], most: int = _MAX_SIDE_BY_SIDE) -> bool:
    return max(len(each.labels) for each in found) <= most


def _draw_matrices(found: Sequence[Findings], names: Sequence[str]) -> list[Picture]:
    if not _are_few(found, confusion.MAX_CLASSES):
        return []
    width_inches = _HALF_INCHES if _are_few(found) else canvas.WIDTH_INCHES
    return [
        confusion.draw_confusion(
            each,
            f"confusion-{place}",
            say("{name}: rows are the true classes, columns the predicted ones.", name=name),
            width_inches,
        )
        for place, (each, name) in enumerate(zip(found, names, strict=True))
    ]


def _difference(found: Sequence[Findings]) -> str:
    """Of the last one's accuracy to the first one's."""
    return _points(found[-1].verification.onnxruntime_accuracy - found[0].verification.onnxruntime_accuracy)


def _points(change: float) -> str:
    return say("{points} points", points=signed(change * 100, ".2f"))


def _factor(before: float, after: float) -> str:
    return f"{after / before:.2f} x" if before and after else ""


def _joined(texts: Sequence[str]) -> str:
    *others, last = dict.fromkeys(texts)
    return say("{others} and {last}", others=", ".join(others), last=last) if others else last
