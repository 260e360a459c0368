"""Files that are either whole or absent: written beside the target, then renamed."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path


def write_bytes(path: Path, data: bytes, *, is_lasting: bool = True) -> None:
    """Replaces `path` by `data` in one step, its folder made if need be. `is_lasting`: it is on the disk then, and
    outlasts a power cut. Raises OSError; the old file then stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            if is_lasting:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str, *, is_lasting: bool = True) -> None:
    """As `write_bytes`, in UTF-8."""
    write_bytes(path, text.encode(), is_lasting=is_lasting)
