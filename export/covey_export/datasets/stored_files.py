"""Files as data sets are published: plain, or compressed with gzip or xz. Finds and reads them whole."""

from __future__ import annotations

import gzip
import lzma
import zlib
from pathlib import Path

from covey_export.errors import InvalidDataset

SUFFIXES = ("", ".gz", ".xz")


def find(folder: Path, name: str) -> Path | None:
    """The file `name` in `folder`, or `name` with a compressor's suffix; None where there is none."""
    for suffix in SUFFIXES:
        path = folder / f"{name}{suffix}"
        if path.is_file():
            return path
    return None


def read(path: Path) -> bytes:
    """The decompressed content. Raises InvalidDataset for a damaged file, OSError for one that cannot be read."""
    data = path.read_bytes()
    try:
        if path.suffix == ".gz":
            return gzip.decompress(data)
        if path.suffix == ".xz":
            return lzma.decompress(data)
    except (gzip.BadGzipFile, lzma.LZMAError, zlib.error, EOFError) as error:
        raise InvalidDataset(f"{path} is damaged or cut off ({error}); fetch it again") from error
    return data
