"""The file of what each principal may: read, checked as a whole, and read again when it changes. docs/security.md
describes it; `batching/limits` holds what it says."""

from __future__ import annotations

import logging
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from covey_proto.wording import plural
from covey_server.batching.limits import OTHER, Allowances, Limits
from covey_server.calls.account import PRIORITIES, Allowance
from covey_server.errors import InvalidConfiguration
from covey_server.fronts.security.files import FollowedFiles, read

log = logging.getLogger(__name__)

_SETTING = "--limits-file"
_DEFAULT = "default"
_PRINCIPALS = "principals"
TOKEN = "token:"  # how principals begin that are tokens
_PRINCIPAL = re.compile(r"token:[0-9a-f]{12}|certificate:.+")  # as Call.principal
_EXPECTED_PRINCIPAL = (
    "expected token: and the first 12 digits of the token's SHA-256, in lower case, or certificate: and its subject"
)
_MIN_RATE, _MAX_RATE = 1e-6, 1e9  # per second: with others the times would pass all numbers
_EXPECTED_RATE = f"a number from {_MIN_RATE:g} to {_MAX_RATE:g}"
_MAX_SHOWN = 20  # names in one line of the log
_MAX_TABLES = 1000  # each is a label's value in the metrics


class LimitsFile:
    """A limits file. `limits` are those of its last good content."""

    def __init__(self, path: Path, processes: int = 1) -> None:
        """`processes` that share the limits. Raises InvalidConfiguration if the file cannot be used."""
        self._path = path
        self._files = FollowedFiles(path)
        self._allowances = _read(path)
        self.limits = Limits(self._allowances, processes)
        log.info("%s", _summary(path, self._allowances))

    def refresh(self) -> bool:
        """Reads the file if it has changed; keeps the old limits if it cannot be used. Whether there are others now."""
        allowances = self._files.read_new(lambda: _read(self._path), "the limits read before stay")
        if allowances is None or allowances == self._allowances:  # the same where a comment or a permission changed
            return False
        self._allowances = allowances
        self.limits.replace(allowances)
        log.info("%s", _summary(self._path, allowances))
        return True

    def warn_of_unknown(self, tokens: Set[str]) -> None:
        """Warns of each table that names a token which is none of `tokens`, the names of those that are valid."""
        for table in self._allowances.tables:
            unknown = sorted(
                principal
                for principal, its_table in self._allowances.table_of.items()
                if its_table == table and principal.startswith(TOKEN) and principal not in tokens
            )
            if unknown:
                log.warning(
                    "%s %s: [%s] is for %s, which no valid token has, so that this limits nobody; valid tokens are %s",
                    _SETTING, self._path, table, _shown(unknown), _shown(sorted(tokens)) or "none",
                )  # fmt: skip


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_SHOWN:,} more" if len(names) > _MAX_SHOWN else ""
    return ", ".join(names[:_MAX_SHOWN]) + more


def _summary(path: Path, allowances: Allowances) -> str:
    others = "of all others" if allowances.default != Allowance() else "none of others"
    return f"limits of {plural(len(allowances.table_of), 'principal')} and {others}, by {path}"


def _read(path: Path) -> Allowances:
    try:
        content = tomllib.loads(read(_SETTING, path).decode())
    except UnicodeDecodeError:
        raise _wrong(path, "it is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise _wrong(path, f"it is not TOML: {error}") from None
    if len(content) > _MAX_TABLES:
        raise _wrong(path, f"it has {len(content):,} tables; at most {_MAX_TABLES:,} are taken")
    tables: dict[str, Allowance] = {}
    table_of: dict[str, str] = {}
    for name, table in content.items():
        where = f"[{name}]"
        if not isinstance(table, dict):
            raise _wrong(path, f"{name} stands in no table; expected [{_DEFAULT}] or the table of a principal first")
        tables[name] = _allowance(path, where, table, is_default=name == _DEFAULT)
        for principal in () if name == _DEFAULT else _principals(path, name, table):
            if principal in table_of:
                raise _wrong(path, f"{principal!r} is in [{table_of[principal]}] and in {where}; expected it once")
            table_of[principal] = name
    default = tables.pop(_DEFAULT, Allowance())
    return Allowances(tables, table_of, default)


def _principals(path: Path, name: str, table: Mapping[str, Any]) -> list[str]:
    """Whose limits a table has: those it lists, or the one that it is named after."""
    if name == OTHER:
        raise _wrong(path, f"[{OTHER}] is how metrics name principals without a table; choose another name")
    found = table.get(_PRINCIPALS)
    if found is None:
        if not _PRINCIPAL.fullmatch(name):
            raise _wrong(path, f"[{name}] names no principal and has no {_PRINCIPALS}; {_EXPECTED_PRINCIPAL}")
        return [name]
    if not isinstance(found, list) or not found:
        raise _wrong(path, f"[{name}] {_PRINCIPALS}: expected a list of at least one")
    for each in found:
        if not isinstance(each, str) or not _PRINCIPAL.fullmatch(each):
            raise _wrong(path, f"[{name}] {_PRINCIPALS}: {each!r} is none; {_EXPECTED_PRINCIPAL}")
    return found


def _allowance(path: Path, where: str, table: Mapping[str, Any], *, is_default: bool) -> Allowance:
    readers: dict[str, tuple[Callable[[object], bool], str]] = {
        "requests_per_s": (_is_rate, _EXPECTED_RATE),
        "images_per_s": (_is_rate, _EXPECTED_RATE),
        "in_flight": (_is_count, "a whole number of at least 1"),
        "priority": (lambda value: value in PRIORITIES, " or ".join(f'"{each}"' for each in PRIORITIES)),
    }
    known = [*readers] if is_default else [*readers, _PRINCIPALS]
    for key, value in table.items():
        if key not in known:
            raise _wrong(path, f"{where} has the key {key!r}; known are {', '.join(known)}")
        if key in readers and not readers[key][0](value):
            raise _wrong(path, f"{where} {key} is {value!r}; expected {readers[key][1]}")
    return Allowance(**{key: value for key, value in table.items() if key in readers})


def _is_rate(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and _MIN_RATE <= value <= _MAX_RATE


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _wrong(path: Path, what: str) -> InvalidConfiguration:
    return InvalidConfiguration(f"{_SETTING} {path}: {what}")
