"""One thing that was looked at."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Level(enum.Enum):
    """`WRONG` keeps a server from starting or from being right; `NOTE` is worth knowing."""

    OK = "ok"
    NOTE = "note"
    WRONG = "WRONG"


@dataclass(frozen=True, slots=True)
class Finding:
    """`advice` is what to do, in words or as a command; empty where nothing is to be done."""

    level: Level
    subject: str
    text: str
    advice: str = ""
