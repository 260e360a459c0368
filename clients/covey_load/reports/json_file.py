"""A report as a JSON file: written whole or not at all, and checked when it is read. The names are measurement.py's."""

from __future__ import annotations

import secrets
from pathlib import Path

import msgspec

from covey.errors import InvalidInput
from covey_load.measurement import SCHEMA, Report


class _Schema(msgspec.Struct):
    """The one field that every version of the file has."""

    schema: int


def write(path: Path, report: Report) -> None:
    """Replaces `path` in one step. Raises InvalidInput where it cannot be written; an old file then stays."""
    write_text(path, msgspec.json.format(msgspec.json.encode(report), indent=1).decode() + "\n")


def write_text(path: Path, text: str) -> None:
    """As `write`, any text in UTF-8. A link stays one: the file it leads to is replaced."""
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise InvalidInput(f"{path}: is no file that could be replaced; give one, or a new name")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        try:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise InvalidInput(
            f"{path}: cannot be written ({error.strerror}); give a file in a folder that is there"
        ) from error


def read(path: Path) -> Report:
    """The report in `path`. Raises InvalidInput: no file, no JSON, another schema, or a field of another type."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read ({error.strerror}); give a file of covey load --json") from error
    try:
        schema = msgspec.json.decode(data, type=_Schema).schema
        if schema != SCHEMA:
            raise InvalidInput(
                f"{path}: is of schema {schema}, this covey reads {SCHEMA}; measure anew, or use that covey"
            )
        return msgspec.json.decode(data, type=Report)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path}: is no report of covey load --json: {error}") from error
