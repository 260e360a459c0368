"""Reads the outputs' labels from the files that people keep them in, and compares their number with the outputs."""

from __future__ import annotations

import ast
import contextlib
import csv
import io
import itertools
import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from covey_export.errors import InvalidLabels
from covey_proto.wording import listed, plural

_HEADINGS_INDEX = frozenset({"index", "id", "idx", "class_id", "classid", "class_index", "output", "number", "key"})
_HEADINGS_LABEL = frozenset({"label", "name", "class", "class_name", "classname", "display_name", "title", "tag"})
_SUFFIXES = frozenset({".txt", ".json", ".csv", ".tsv", ".names"})
_MAX_SHOWN = 100  # characters
# Labels that are renamed where they are alike: two, or 2% of many; and at most a quarter of few. More are a wrong list.
_MAX_ALIKE, _MAX_SHARE_ALIKE, _MAX_SHARE_OF_FEW_ALIKE = 2, 0.02, 0.25
_MAPPINGS = ("id2label", "label2id", "labels", "label_names", "classes", "class_names", "names")


def read(value: str) -> tuple[str, ...]:
    """The labels in the order of the outputs, as --labels names them: a file, or a list with commas.

    The file is text (one a line), JSON (a list, an object of index to label or label to index, or one that holds such
    as `id2label`, as Hugging Face's config.json does), the same as Python writes it, or CSV (with a heading, or of
    index and label). In a list, labels that have commas themselves are quoted: `cat,"dog, domestic"`.

    Raises InvalidLabels.
    """
    if _exists(value) and Path(value).is_dir():
        raise InvalidLabels(
            f"--labels {value}: is a folder; expected a file of labels, or names with commas between. --samples "
            f"{value} takes the names of its folders"
        )
    try:
        labels = _of_file(Path(value)) if _exists(value) else _of_list(value)
    except OSError as error:
        raise InvalidLabels(f"--labels {value}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InvalidLabels(f"--labels {value}: expected UTF-8 text; save it again in UTF-8") from error
    except (ValueError, TypeError, csv.Error) as error:
        raise InvalidLabels(f"--labels {_short(value)}: {error}") from error
    return tuple(unicodedata.normalize("NFC", label).strip() for label in labels)


def require_count(origin: str, labels: Sequence[str], outputs: int) -> None:
    """Raises InvalidLabels where there is not one label for each output. A single output takes two labels, for "no" and
    "yes"."""
    expected = 2 if outputs == 1 else outputs
    if len(labels) == expected:
        return
    hint = ""
    if "" in labels:
        hint = f" Label {labels.index('') + 1} is empty, as of a blank line: delete it, or give that class its name."
    elif len(labels) == expected + 1:
        hint = " The first may be a heading, or a class for the background, that the network does not have: delete it."
    elif len(labels) + 1 == expected:
        hint = " The network may have a class for the background in front: add a line for it."
    raise InvalidLabels(
        f"{_short(origin)}: expected {plural(expected, 'label')}, one for each output, got {len(labels):,} "
        f"({', '.join(labels[:3])}{', ...' if len(labels) > 3 else ''}).{hint} Take the labels that belong to this "
        f"network"
    )


def _short(text: str) -> str:
    """A value shortened for a message: a list may have thousands of labels."""
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def _exists(text: str) -> bool:
    try:
        return bool(text) and Path(text).exists()
    except (OSError, ValueError):  # too long to be a file's name
        return False


def _of_list(text: str) -> list[str]:
    labels = next(csv.reader([text], skipinitialspace=True), [])
    if len(labels) < 2 or Path(labels[-1]).suffix.lower() in _SUFFIXES:
        raise ValueError(
            "there is no such file; expected a file of labels, or two or more with commas between, such as cat,dog"
        )
    return labels


def _of_file(path: Path) -> list[str]:
    text = path.read_text("utf-8-sig")
    suffix = path.suffix.lower()
    if suffix == ".json":
        return of_json(json.loads(text))
    if suffix in (".csv", ".tsv"):
        return _of_csv(text, "\t" if suffix == ".tsv" else ",")
    if text.lstrip()[:1] in ("{", "["):
        with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError):  # lines such as [red], else
            return of_json(_of_python(text))
    lines = [line.strip() for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise ValueError("is empty; expected one label a line")
    return lines


def _of_python(text: str) -> object:
    """The value of a text that is JSON, or a dict or list as Python prints it."""
    try:
        parsed: object = json.loads(text)
    except ValueError:
        parsed = ast.literal_eval(text.strip())
    return {str(key): value for key, value in parsed.items()} if isinstance(parsed, dict) else parsed


def of_json(value: object) -> list[str]:
    if isinstance(value, dict):
        for key in _MAPPINGS:
            if isinstance(value.get(key), dict | list) and value[key]:
                return of_json(value[key])
        return _of_mapping(value)
    if isinstance(value, list) and value and all(isinstance(label, str) for label in value):
        return list(value)
    raise ValueError(
        "expected a JSON list of labels, an object of index to label or of label to index, or one with id2label"
    )


def _of_mapping(mapping: dict[str, object]) -> list[str]:
    if mapping and all(isinstance(item, int) and not isinstance(item, bool) for item in mapping.values()):
        pairs = [(int(str(index)), label) for label, index in mapping.items()]
    elif (
        mapping
        and all(key.strip().isdecimal() for key in mapping)
        and len({type(item) for item in mapping.values()}) == 1
    ):
        pairs = [(int(key), _text(value)) for key, value in mapping.items()]
    else:
        raise ValueError(
            'expected an object of index to label ({"0": "cat"}) or of label to index ({"cat": 0}), or one with '
            f"id2label; its keys are {listed(list(mapping)[:5])}"
        )
    return _in_order(pairs)


def _text(value: object) -> str:
    """A label as text; of Keras's pairs (["n01440764", "tench"]) the last part."""
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        return str(value[-1])
    if isinstance(value, str):
        return value
    raise ValueError(f"expected labels that are text, got {value!r}")


def _in_order(pairs: Sequence[tuple[int, str]]) -> list[str]:
    """The labels by index, from 0 on or, as in some files, from 1 on."""
    ordered = sorted(pairs)
    first = ordered[0][0]
    indices = [index for index, _ in ordered]
    if first not in (0, 1) or indices != list(range(first, first + len(indices))):
        missing = sorted(set(range(indices[-1] + 1)) - set(indices))[:5]
        twice = sorted({index for index in indices if indices.count(index) > 1})[:5] if len(indices) < 5000 else []
        problem = f"missing {listed([str(each) for each in missing])}" if missing else f"twice {twice}"
        raise ValueError(f"expected the indices 0 to {len(indices) - 1}, each once; {problem}")
    return [label for _, label in ordered]


def _of_csv(text: str, separator: str) -> list[str]:
    rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text), delimiter=separator) if any(row)]
    if not rows:
        raise ValueError("is empty; expected rows of index and label, or of labels")
    heading = [cell.lower().replace(" ", "_") for cell in rows[0]]
    label_at = next((index for index, cell in enumerate(heading) if cell in _HEADINGS_LABEL), None)
    index_at = next((index for index, cell in enumerate(heading) if cell in _HEADINGS_INDEX), None)
    if label_at is not None:
        rows = rows[1:]
    else:
        label_at = len(rows[0]) - 1
        index_at = 0 if len(rows[0]) > 1 and all(row[0].isdecimal() for row in rows) else None
        if index_at is None and len(rows[0]) > 1:
            raise ValueError(
                "expected a CSV of index and label, or one with a heading (index,label); its first row is "
                f"{separator.join(rows[0])!r}"
            )
    short = next((number for number, row in enumerate(rows, 1) if len(row) <= max(label_at, index_at or 0)), None)
    if short is not None:
        raise ValueError(f"row {short} has no label; expected a label in each row")
    if index_at is None:
        return [row[label_at] for row in rows]
    if bad := next((row[index_at] for row in rows if not row[index_at].isdecimal()), None):
        raise ValueError(f"expected whole numbers as indices, got {bad!r}")
    return _in_order([(int(row[index_at]), row[label_at]) for row in rows])


def distinct(
    origin: str, labels: Sequence[str], *, are_the_networks: bool = False
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Makes the labels distinct; a sentence about each that was renamed is returned too. The server tells labels apart
    by what people see, and ImageNet's usual lists have `crane` and `maillot` twice.

    `are_the_networks`: they came with it. Raises InvalidLabels for empty labels and, of other lists, where so many are
    alike that it must be the wrong one.
    """
    shown = [" ".join("".join(each if each.isprintable() else " " for each in label).split()) for label in labels]
    if "" in shown:
        raise InvalidLabels(f"{_short(origin)}: label {shown.index('') + 1} is empty; expected a name for each output")
    first: dict[str, int] = {}
    taken, names, notes = set(shown), list(labels), []
    for index, label in enumerate(shown):
        earlier = first.setdefault(label, index)
        if earlier == index:
            continue
        names[index] = next(name for each in itertools.count(2) if (name := f"{label} ({each})") not in taken)
        taken.add(names[index])
        notes.append(
            f"{label!r} is the label of output {earlier} and of output {index}; that is named {names[index]!r}"
        )
        if len(notes) > _max_alike(len(labels)) and not are_the_networks:
            raise InvalidLabels(
                f"{_short(origin)}: {label!r} is the label of output {earlier} and of output {index}; expected a name "
                f"of its own for each, such as {names[index]!r}, and at most {_max_alike(len(labels)):,} that are "
                f"named so by the import. Take the labels that belong to this network, or write other names"
            )
    return tuple(names), tuple(notes)


def _max_alike(labels: int) -> int:
    """How many of so many labels may be those of an earlier output."""
    return min(max(_MAX_ALIKE, int(labels * _MAX_SHARE_ALIKE)), int(labels * _MAX_SHARE_OF_FEW_ALIKE))
