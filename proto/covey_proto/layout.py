"""Where models lie: `models/NAME/VERSION/model.onnx`. What may be a NAME and a VERSION."""

from __future__ import annotations

import re

FILE_NAME = "model.onnx"
# Files beside the versions, each with the number of one: for requests that name none, to run again what that one
# answers, and for a share of the callers that name none.
DEFAULT_VERSION, SHADOW_VERSION, CANARY_VERSION = "default-version", "shadow-version", "canary-version"
CHOICES = (DEFAULT_VERSION, SHADOW_VERSION, CANARY_VERSION)
# Files beside a version's model, which a server shows.
BESIDE = ("MODEL_CARD.md", "report.html", "report.json", "verification.json")
MIRROR_LOCK = ".lock"  # in a models folder that is the copy of a store
MAX_VERSION = 2**63 - 1  # of an int64, as the contract has it
_MODEL_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")


def is_model_name(name: str) -> bool:
    """1 to 64 ASCII letters, digits, dots, hyphens or underscores, not beginning with a dot."""
    return _MODEL_NAME.fullmatch(name) is not None


def is_version(name: str) -> bool:
    """A whole number from 1 up, spelled as numbers are: "1", not "01"."""
    if not (name.isascii() and name.isdecimal() and len(name) <= len(str(MAX_VERSION))):
        return False
    return name == str(int(name)) and 1 <= int(name) <= MAX_VERSION
