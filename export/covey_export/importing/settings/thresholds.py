"""The thresholds of independent labels, as `--thresholds` gives them: one for all labels, or one each."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from covey_export.errors import ExportError, InvalidLabels
from covey_export.importing.settings.activation import Answer
from covey_export.option_values import THRESHOLD
from covey_proto.wording import listed, plural

_EXPECTED = "a probability from 0 to 1"


def read(option: str | None, labels: Sequence[str]) -> tuple[float, ...]:
    """Reads the thresholds: one for all labels, or one each in their order. `option` is a number, numbers with commas
    between, or a file: numbers (one a line), a JSON list, a JSON object or a CSV of label and number. Raises
    InvalidLabels."""
    if option is None:
        return (THRESHOLD,)
    parts, origin = option.split(","), f"--thresholds {option}"
    try:
        if all(map(_is_number, parts)):
            thresholds = [_number(part) for part in parts]
        else:
            thresholds = _parse(Path(option), Path(option).read_text("utf-8-sig"), labels)
    except OSError as error:
        raise InvalidLabels(
            f"{origin}: expected {_EXPECTED}, or a file of them, and it cannot be read: {error.strerror or error}"
        ) from error
    except ValueError as error:  # not UTF-8 and no JSON included
        raise InvalidLabels(f"{origin}: {error}") from error
    if len(thresholds) not in (1, len(labels)):
        raise InvalidLabels(
            f"{origin}: expected one number for all labels, or {len(labels):,}, one for each in their order; got "
            f"{len(thresholds):,}"
        )
    return tuple(thresholds) if len(set(thresholds)) > 1 else (thresholds[0],)


def apply(option: str | None, answer: Answer, labels: Sequence[str]) -> Answer:
    """The answer with its thresholds. Raises InvalidLabels, and ExportError where it has no independent labels."""
    if answer.independent:
        thresholds = read(option, labels)
        return replace(answer, description=f"{answer.description}; {_describe(thresholds)}", thresholds=thresholds)
    if option is not None:
        raise ExportError(
            f"--thresholds are for independent labels, and here one class is right: {answer.description}. Omit them, "
            f"or say --activation sigmoid if any number of labels may be right"
        )
    return answer


def _describe(thresholds: Sequence[float]) -> str:
    if len(thresholds) == 1:
        return f"labels are given from a probability of {thresholds[0]:g} on"
    return f"labels are given each from its own threshold on, {min(thresholds):g} to {max(thresholds):g}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parse(path: Path, text: str, labels: Sequence[str]) -> list[float]:
    suffix = path.suffix.lower()
    if suffix == ".json" or text.lstrip()[:1] in ("{", "["):
        parsed = json.loads(text)
        if isinstance(parsed, dict):
            return _by_label([(str(label), _number(value)) for label, value in parsed.items()], labels)
        if isinstance(parsed, list):
            return [_number(value) for value in parsed]
        return [_number(parsed)]
    rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text)) if any(map(str.strip, row))]
    if rows and len(rows[0]) > 1 and not _is_number(rows[0][-1]):
        rows = rows[1:]  # a heading
    if not rows:
        raise ValueError("is empty; expected one number a line, or label,number")
    if len(rows[0]) == 1:
        return [_number(row[0]) for row in rows]
    short = next((row for row in rows if len(row) < 2), None)
    if short is not None:
        raise ValueError(f"expected rows of label and number, got {short[0]!r} alone")
    return _by_label([(row[0], _number(row[-1])) for row in rows], labels)


def _number(value: object) -> float:
    if isinstance(value, str) and _is_number(value):
        value = float(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:  # NaN is none either
        return float(value)
    raise ValueError(f"expected {_EXPECTED}, got {value!r}")


def _by_label(pairs: Sequence[tuple[str, float]], labels: Sequence[str]) -> list[float]:
    threshold_of = {unicodedata.normalize("NFC", label).strip(): number for label, number in pairs}
    missing = [label for label in labels if label not in threshold_of]
    unknown = sorted(threshold_of.keys() - set(labels))
    if missing or unknown:
        missing_text = f"no number for {plural(len(missing), 'label')}: {listed(missing[:5])}" if missing else ""
        unknown_text = f"{plural(len(unknown), 'name')} that are no labels: {listed(unknown[:5])}" if unknown else ""
        raise ValueError(
            f"expected a number for each label, found {'; '.join(filter(None, (missing_text, unknown_text)))}"
        )
    return [threshold_of[label] for label in labels]
