"""Parses SHA256SUMS, as `sha256sum FILE ...` prints it."""

from __future__ import annotations

import re

FILE = "SHA256SUMS"
MAX_BYTES = 1 << 20
_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](?:\./)*(.+)")


def parse(content: bytes) -> dict[str, str]:
    """The digests in lower case, by file. Raises ValueError for anything but such lines."""
    digests: dict[str, str] = {}
    for number, line in enumerate(content.decode(errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"line {number} is {line[:80]!r}: expected what `sha256sum FILE` prints")
        digests[match[2]] = match[1].lower()
    return digests
