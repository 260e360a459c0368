"""What pages say, in the reader's language. English stands where it is said; each other language has one catalogue,
`languages/CODE.json`, from every English text to its translation. A test holds that none is missing.

Names (of classes, models, networks, data sets) and what was recorded (recipes, versions) are never translated.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import resources

from covey_proto.wording import MAX_LISTED, listed, plural

ENGLISH = "en"
LANGUAGES: Mapping[str, str] = {ENGLISH: "en", "zh": "zh-CN"}  # as options name them, and as HTML does

_spoken = ContextVar("spoken", default=ENGLISH)


@contextmanager
def spoken(code: str) -> Iterator[None]:
    """While entered, pages are written in the language `code`, one of LANGUAGES."""
    before = _spoken.set(code)
    try:
        yield
    finally:
        _spoken.reset(before)


def tag() -> str:
    """Of the language that is spoken, for the attribute `lang`."""
    return LANGUAGES[_spoken.get()]


def is_english() -> bool:
    """Whether nothing is translated."""
    return _spoken.get() == ENGLISH


def catalogue(code: str) -> Mapping[str, str]:
    """English texts and their translations; of English none."""
    return {} if code == ENGLISH else _read(code)


def say(text: str, **values: object) -> str:
    """The translation of `text`, its fields in braces filled with `values` as str.format does. However its words are
    divided into lines, it is one line; what has no translation stays English."""
    text = " ".join(text.split())
    text = catalogue(_spoken.get()).get(text, text)
    return text.format(**values) if values else text


def words(*texts: str) -> tuple[str, ...]:
    """The translation of each."""
    return tuple(map(say, texts))


def counted(count: int, one: str, several: str = "") -> str:
    """`1 image`, `2,000 images`, as covey_proto.wording.plural says it. The catalogue has it as `{count} image`: a
    language may have one form for all counts, and a measure word."""
    return plural(count, one, several) if is_english() else say(f"{{count}} {one}", count=f"{count:,}")


def sentences(*texts: str) -> str:
    """One after the other; empty ones are left out."""
    return (" " if is_english() else "").join(text for text in texts if text)


def listing(names: Sequence[str]) -> str:
    """All names, or of many the first ones and how many more there are."""
    if is_english():
        return listed(names)
    shown = names if len(names) <= MAX_LISTED else names[: MAX_LISTED // 2]
    text, more = say(",").join(shown), len(names) - len(shown)
    return say("{names} and {more} more", names=text, more=more) if more else text


@cache
def _read(code: str) -> Mapping[str, str]:
    path = resources.files("covey_reports") / "languages" / f"{code}.json"
    read: Mapping[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return read
