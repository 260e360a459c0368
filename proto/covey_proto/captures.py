"""The layout of a folder of captured images: the server writes it, `covey label` fills it in, data sets read it.

DIR/MODEL/CLASS/0.312-20261130T094400-4711-1.png    one folder per class: the predicted one, once labelled the true
DIR/MODEL/captures.csv                              how each was answered, by the server
DIR/MODEL/classes.json                              the labels of all classes of the model
DIR/MODEL/labels.csv                                each decision about an image, in order; the last one counts
DIR/MODEL/.discarded/...png                         what is no image of any class
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

CAPTURES, LABELS, CLASSES, DISCARDED = "captures.csv", "labels.csv", "classes.json", ".discarded"
CAPTURE_COLUMNS = ("file", "time", "version", "class", "probability", "reason")
LABEL_COLUMNS = ("file", "time", "folder", "decision", "class")
# Why an image was kept: by chance; the model was not sure; the version in the shadow, or the one beside the canary,
# gives it another class.
Reason = Literal["random", "uncertain", "differs"]
Decision = Literal["labelled", "discarded", "undone"]
DECISIONS: tuple[Decision, ...] = get_args(Decision)

_NOT_A_NAME = re.compile(r"[^\w .,()+=@-]")
_PROBABILITY = re.compile(r"[01]\.\d{3}(?=-)")


@dataclass(frozen=True)
class Label:
    """What was decided about one image: `file` is its name without a folder, `folder` the one that it lay in before,
    `label` its true class (empty unless it is `labelled`)."""

    file: str
    folder: str
    decision: Decision
    label: str

    @property
    def place(self) -> str:
        """The folder that it belongs in now."""
        if self.decision == "undone":
            return self.folder
        return folder_name(self.label) if self.decision == "labelled" else DISCARDED


def folder_name(label: str) -> str:
    """The name of a class's folder: the label, without what a folder's name may not have."""
    return _NOT_A_NAME.sub("_", label).strip().lstrip(".")[:100] or "_"


def probability_of(name: str) -> float | None:
    """How probable the predicted class was, by the file's name; None for files that are no captures."""
    found = _PROBABILITY.match(name)
    return float(found[0]) if found else None


def row(cells: Iterable[object]) -> bytes:
    """A line of a CSV file."""
    line = io.StringIO(newline="")
    csv.writer(line).writerow(cells)
    return line.getvalue().encode()


def read_labels(folder: Path) -> Sequence[Label]:
    """All decisions, in order. Lines that are cut off or of other columns are left out. Raises OSError."""
    return [
        Label(cells["file"], cells["folder"], decision, cells["class"])
        for cells in _rows(folder / LABELS)
        if all(isinstance(cells.get(column), str) for column in LABEL_COLUMNS)
        and _is_name(cells["file"])  # whoever wrote it, no other place is meant
        and _is_name(cells["folder"])
        and (decision := _decision(cells["decision"]))
    ]


def read_reasons(folder: Path) -> dict[str, str]:
    """Why images were kept, by the file's name: a Reason, or what a newer server writes. Raises OSError."""
    return {
        Path(cells["file"]).name: cells["reason"]
        for cells in _rows(folder / CAPTURES)
        if cells.get("file") and cells.get("reason")
    }


def standing(labels: Sequence[Label]) -> dict[str, Label]:
    """The decisions that count, by the file's name, in the order in which they were made."""
    found: dict[str, Label] = {}
    for each in labels:
        found.pop(each.file, None)
        if each.decision != "undone":
            found[each.file] = each
    return found


def read_classes(folder: Path) -> tuple[str, ...]:
    """The labels of the model's classes; where they were not written, those of the captures and folders that are there.
    Raises OSError."""
    try:
        found = json.loads((folder / CLASSES).read_text(encoding="utf-8"))
        if isinstance(found, list) and all(isinstance(each, str) for each in found):
            return tuple(found)
    except (FileNotFoundError, ValueError):
        pass
    named = {cells["class"] for cells in _rows(folder / CAPTURES) if cells.get("class")}
    known = {folder_name(label) for label in named}
    beside = {child.name for child in folder.iterdir() if child.is_dir() and not child.name.startswith(".")}
    return tuple(sorted(named | (beside - known)))


def _is_name(text: str) -> bool:
    """Whether it names something in a folder, and no other place."""
    return "/" not in text and text not in ("", ".", "..")


def _decision(text: str) -> Decision | None:
    return next((each for each in DECISIONS if each == text), None)


def _rows(path: Path) -> Sequence[Mapping[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            return list(csv.DictReader(file))
    except FileNotFoundError:
        return []
