"""Reads labelled samples from a CSV with a row for each image: its file and its label."""

from __future__ import annotations

import csv
import io
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from covey_export.errors import InvalidSamples
from covey_proto.wording import plural

SUFFIXES = (".csv", ".tsv", ".txt")
_FILE = frozenset(
    {"file", "filename", "file_name", "filepath", "file_path", "path", "image", "image_path", "img", "name"}
)
_LABEL = frozenset({"label", "labels", "class", "class_name", "label_name", "category", "target", "index", "class_id"})


@dataclass(frozen=True)
class SampleTable:
    """`files` of each label, as they come; `first_row` says where each label is first found. `problems` are rows that
    cannot be used, a sentence each."""

    files: dict[str, list[Path]]
    first_row: dict[str, str]
    problems: tuple[str, ...]


def read(path: Path) -> SampleTable:
    """Reads rows of file and label, with a heading (in any order, beside other columns) or without. Files are relative
    to the folder of the table; labels are names or outputs' indices. Cells are separated by commas, semicolons or tabs.
    Raises InvalidSamples where no row can be used."""
    rows = _rows(path)
    file_at, label_at, heading = _columns(rows[0][1] if rows else [])
    files: dict[str, list[Path]] = {}
    first_row: dict[str, str] = {}
    label_of: dict[Path, tuple[int, str]] = {}
    problems = []
    for number, cells in rows[heading:]:
        origin = f"{path.name}, row {number}"
        if len(cells) <= max(file_at, label_at) or not (cells[file_at] and cells[label_at]):
            problems.append(f"{origin}: expected a file and a label, got {','.join(cells)!r}")
            continue
        file, label = _beside(path, cells[file_at]), unicodedata.normalize("NFC", cells[label_at])
        if not file.is_file():
            problems.append(f"{origin}: there is no file {cells[file_at]!r} in {path.parent}, where the table lies")
            continue
        first_number, first_label = label_of.setdefault(file, (number, label))
        if first_number != number:
            problem = f"once more; row {first_number} is taken"
            if first_label != label:
                problem = f"as {label!r}, in row {first_number} it is {first_label!r}; this row is left out"
            problems.append(f"{origin}: has {cells[file_at]} {problem}")
            continue
        first_row.setdefault(label, origin)
        files.setdefault(label, []).append(file)
    if not files:
        raise InvalidSamples(
            f"{path}: expected rows of an image's file and its label, such as cat/1.jpg,cat, "
            + (
                f"found none that can be used in {plural(len(problems), 'row')}: {problems[0]}"
                if problems
                else "found none"
            )
        )
    return SampleTable(files, first_row, tuple(problems))


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """The rows, each with its number in the file."""
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise InvalidSamples(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InvalidSamples(
            f"{path}: expected a folder of images, or a CSV of file and label in UTF-8; its bytes are something else"
        ) from error
    first = text.partition("\n")[0]
    separator = next((candidate for candidate in ("\t", ";") if candidate in first and "," not in first), ",")
    try:
        rows = list(csv.reader(io.StringIO(text), delimiter=separator))
    except csv.Error as error:
        raise InvalidSamples(f"{path}: is no CSV of file and label: {error}") from error
    return [(number, [cell.strip() for cell in row]) for number, row in enumerate(rows, 1) if any(map(str.strip, row))]


def _columns(first: list[str]) -> tuple[int, int, int]:
    """Which column has the file and which the label, and how many rows are the heading."""
    names = [cell.lower().replace(" ", "_") for cell in first]
    file_at = next((index for index, name in enumerate(names) if name in _FILE), None)
    label_at = next((index for index, name in enumerate(names) if name in _LABEL), None)
    if file_at is None or label_at is None:
        return 0, 1, 0
    return file_at, label_at, 1


def _beside(path: Path, name: str) -> Path:
    """A file that the table names; backslashes are read as separators where there is no file of that very name."""
    file = path.parent / name
    return path.parent / name.replace("\\", "/") if "\\" in name and not file.exists() else file
