"""What callers set in the query, or in JSON beside it."""

from __future__ import annotations

from collections.abc import Mapping

from covey_server.calls.http import HttpCall
from covey_server.errors import InvalidRequest

_FLAGS = {"true": True, "1": True, "false": False, "0": False}
MAX_INT = 2**63 - 1
MAX_UINT32 = 2**32 - 1


def require_query(call: HttpCall, known: tuple[str, ...]) -> None:
    """Raises InvalidRequest for a parameter that nobody reads: it may be a misspelled one."""
    for name in call.query:
        if name not in known:
            expected = ", ".join(map(repr, (*known, "timeout_ms")))
            raise InvalidRequest(f"the query has the parameter {name[:64]!r}; expected {expected}")


def flag(settings: Mapping[str, object], name: str) -> bool:
    """True or false among the settings, false where it is not there. Raises InvalidRequest."""
    value = settings.get(name, False)
    if isinstance(value, bool):
        return value
    if not isinstance(value, str) or value not in _FLAGS:
        raise InvalidRequest(f"{name} is {str(value)[:64]!r}; expected true or false")
    return _FLAGS[value]


def number(settings: Mapping[str, object], name: str, maximum: int) -> int:
    """A whole number among the settings, 0 where it is not there. Raises InvalidRequest."""
    value = settings.get(name, 0)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 20:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= maximum:
        raise InvalidRequest(f"{name} is {str(value)[:64]!r}; expected a whole number from 0 up")
    return value
