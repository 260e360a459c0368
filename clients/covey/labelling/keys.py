"""Which key stands for which class, on the page and in the terminal."""

from __future__ import annotations

import string
from collections.abc import Sequence

COMMANDS = "udq"  # undo, discard, quit; a class whose whole label is such a letter takes the key
_PLACES = "1234567890" + "".join(letter for letter in string.ascii_lowercase if letter not in COMMANDS)


def of_classes(classes: Sequence[str]) -> dict[str, str]:
    """The label by its key. Labels of one letter or digit are their own key; others get the next free one, as long as
    there are some."""
    keys: dict[str, str] = {}
    for label in classes:
        if len(label) == 1 and label.isalnum():
            keys.setdefault(label.lower(), label)
    with_key = set(keys.values())
    free = iter(key for key in _PLACES if key not in keys)
    for label in classes:
        if label not in with_key and (key := next(free, None)) is not None:
            keys[key] = label
    return keys


def find(text: str, classes: Sequence[str], keys: dict[str, str]) -> Sequence[str]:
    """The classes that a word can mean: the one of this name or key, else all that begin with it."""
    if text in classes:
        return (text,)
    if text.lower() in keys:
        return (keys[text.lower()],)
    small = text.casefold()
    same = [label for label in classes if label.casefold() == small]
    return same or [label for label in classes if label.casefold().startswith(small)]
