"""Results as JSON Lines, for programs: one object a line, with the names that the SDK's dataclasses have."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json

from covey.errors import CoveyError


def line(record: object) -> str:
    """`record`, a dict or dataclass of the SDK's results, as one line. Errors become their type and message."""
    return json.dumps(record, default=_plain)


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
