"""The images of a capture folder that are to be labelled, and what is decided about them.

A decision is first written to labels.csv and then carried out, by renaming the file: whenever the process ends, no
image is lost and no decision is asked for again. What a process left undone the next one does.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from covey.errors import InvalidInput
from covey_proto import captures as layout
from covey_proto import image_folders, image_formats
from covey_proto.captures import Decision, Label

_WHY: dict[str, str] = {
    "random": "kept at random",
    "uncertain": "kept because the model was not sure",
    "differs": "kept because another version says otherwise",
}


@dataclass(frozen=True)
class Capture:
    """An image that waits for its label. `predicted` is the class that it was answered as, `probability` how sure that
    was; None where its name does not say. `why` it was kept, in words; empty where that is not known."""

    path: Path
    predicted: str
    probability: float | None
    why: str

    @property
    def name(self) -> str:
        return self.path.name


class Captures:
    """The folder of one model. One process at a time labels it; a server may go on capturing into it."""

    def __init__(self, folder: Path) -> None:
        """`folder` is one model's, or one that has a single model's in it. Raises InvalidInput where there is none, or
        it cannot be written."""
        self.folder = _of_one_model(folder)
        with _os_errors_told(self.folder):
            self._file = os.open(self.folder / layout.LABELS, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(self._file)
                raise InvalidInput(f"{self.folder}: another `covey label` is at work here; end it first") from None
            labels = layout.read_labels(self.folder)
            self._standing = layout.standing(labels)
            self.classes = layout.read_classes(self.folder)
            self._label_of = {layout.folder_name(label): label for label in self.classes}
            self._reasons: dict[str, str] = {}
            self._finish(labels)
            self._pending = self._look()
        if not self.classes:
            raise InvalidInput(f"{self.folder}: no class is known; expected {layout.CLASSES}, or a folder for each")

    @property
    def waiting(self) -> int:
        """How many images were not labelled yet, when they were last counted."""
        return len(self._pending)

    @property
    def decided(self) -> int:
        """How many images are labelled or discarded."""
        return len(self._standing)

    def next(self) -> Capture | None:
        """The image that the model was least sure of; None once all are labelled. Raises InvalidInput."""
        while True:
            if not self._pending:
                with _os_errors_told(self.folder):
                    self._pending = self._look()  # a server may have added some
                if not self._pending:
                    return None
            first = next(iter(self._pending.values()))
            if first.path.exists():
                return first
            del self._pending[first.name]  # somebody has moved it by hand

    def pending(self) -> list[Capture]:
        """All that wait, the least certain first."""
        return list(self._pending.values())

    def find(self, name: str) -> Capture | None:
        """The one of this name, if it waits."""
        return self._pending.get(name)

    def label(self, capture: Capture, label: str) -> None:
        """Moves an image into the folder of its true class. Raises InvalidInput for a class that the model has not, and
        where the file cannot be moved."""
        if label not in self.classes:
            raise InvalidInput(f"no class has the label {label!r}; there are {len(self.classes)} in {layout.CLASSES}")
        self._decide(capture, "labelled", label)

    def discard(self, capture: Capture) -> None:
        """Moves what is no image of any class out of the way. Raises InvalidInput."""
        self._decide(capture, "discarded", "")

    def undo(self) -> Capture | None:
        """Takes back the last decision, of this process or an earlier one; its image is next. None where there is
        nothing to take back. Raises InvalidInput."""
        if not self._standing:
            return None
        with _os_errors_told(self.folder):
            last = next(reversed(self._standing.values()))
            undone = Label(last.file, last.folder, "undone", "")
            self._write(undone)
            del self._standing[last.file]
            self._move(last.file, last.place, undone.place)
            found = self._capture(self.folder / undone.place / last.file)
        self._pending[found.name] = found
        self._pending.move_to_end(found.name, last=False)
        return found

    def close(self) -> None:
        """Lets another process label."""
        os.close(self._file)

    def _decide(self, capture: Capture, decision: Decision, label: str) -> None:
        made = Label(capture.name, capture.path.parent.name, decision, label)
        with _os_errors_told(self.folder):
            if not capture.path.exists():
                raise InvalidInput(f"{capture.path} is gone; it was not labelled")
            if made.place != made.folder and (self.folder / made.place / made.file).exists():
                raise InvalidInput(f"{self.folder / made.place} has another {made.file}; move one of them away")
            (self.folder / made.place).mkdir(exist_ok=True)
            self._write(made)
            self._standing[made.file] = made
            self._move(made.file, made.folder, made.place)
        self._pending.pop(made.file, None)

    def _write(self, label: Label) -> None:
        """Adds a whole line or nothing."""
        size = os.fstat(self._file).st_size
        line = layout.row(
            (label.file, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), label.folder, label.decision, label.label)
        )
        if not size:
            line = layout.row(layout.LABEL_COLUMNS) + line
        elif os.pread(self._file, 1, size - 1) != b"\n":  # the last line was cut off
            line = b"\r\n" + line
        try:
            if os.write(self._file, line) < len(line):
                raise OSError(errno.ENOSPC, "the disk is full")
        except OSError:
            os.ftruncate(self._file, size)
            raise

    def _move(self, name: str, before: str, after: str) -> None:
        if before != after:
            (self.folder / before / name).rename(self.folder / after / name)

    def _finish(self, labels: Sequence[Label]) -> None:
        """Carries out decisions that were written down and no more."""
        moves: dict[str, tuple[str, str]] = {}  # the last of each file: from which folder into which
        for each in labels:
            before = moves.get(each.file, (each.folder, each.folder))[1] if each.decision == "undone" else each.folder
            moves[each.file] = (before, each.place)
        for name, (before, after) in moves.items():
            if (self.folder / before / name).exists() and not (self.folder / after / name).exists():
                (self.folder / after).mkdir(exist_ok=True)
                self._move(name, before, after)

    def _look(self) -> OrderedDict[str, Capture]:
        """By name. Tens of thousands may wait, so nothing is looked at twice."""
        paths = [
            child / name
            for child in self.folder.iterdir()
            if not image_folders.is_hidden(child.name) and child.is_dir()
            for name in os.listdir(child)  # noqa: PTH208 - Path costs several times as much
            if name not in self._standing and image_formats.of_name(name) and not image_folders.is_hidden(name)
        ]
        if paths or not self._reasons:
            self._reasons = layout.read_reasons(self.folder)
        found = [self._capture(path) for path in paths]
        found.sort(key=lambda each: (2.0 if each.probability is None else each.probability, each.name))
        return OrderedDict((each.name, each) for each in found)

    def _capture(self, path: Path) -> Capture:
        folder, name = path.parent.name, path.name
        why = _WHY.get(self._reasons.get(name, ""), "")
        return Capture(path, self._label_of.get(folder, folder), layout.probability_of(name), why)


def _of_one_model(folder: Path) -> Path:
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is no folder; expected one that `covey serve --capture` writes")
    if (folder / layout.CAPTURES).exists():
        return folder
    with _os_errors_told(folder):
        models = sorted(child for child in folder.iterdir() if (child / layout.CAPTURES).exists())
    if len(models) != 1:
        found = f"those of {len(models)} models; name one: {', '.join(map(str, models))}" if models else "no captures"
        raise InvalidInput(f"{folder}: expected a model's folder with {layout.CAPTURES}, found {found}")
    return models[0]


@contextmanager
def _os_errors_told(folder: Path) -> Iterator[None]:
    """What the file system refuses, as an error that `covey` tells in a line."""
    try:
        yield
    except OSError as error:
        raise InvalidInput(f"{error.filename or folder}: {error.strerror or error}; nothing was lost") from error
