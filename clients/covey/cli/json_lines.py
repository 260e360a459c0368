"""Results as JSON Lines, for programs: one object a line, with the names that the SDK's dataclasses have."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import math

from covey.errors import CoveyError


def line(record: object) -> str:
    """`record`, a dict or dataclass of the SDK's results, as one line, in ASCII. Errors become their type and message,
    numbers that are not finite, which JSON has not, null."""
    try:
        return json.dumps(record, default=_plain, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(record), allow_nan=False)


def _finite(value: object) -> object:
    """`value` with None for each number that is not finite."""
    if isinstance(value, enum.Enum) or not isinstance(value, float | str | int | dict | list | tuple | None):
        value = _plain(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value


def _plain(value: object) -> object:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, CoveyError):
        return {"type": type(value).__name__, "message": str(value)}
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise TypeError(f"no JSON form for {type(value).__name__}; this is a bug")
