"""Tar files, compressed or not, among them those of a WebDataset: members with the suffix of an image, in their
order."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from covey_proto import image_folders, image_formats
from covey_proto.image_formats import Format
from covey_server.offline.errors import BadSource
from covey_server.offline.sources.bucket_files import File, state_of
from covey_server.offline.sources.source import Entry, Missing, printable, too_large

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


_UNPACK: Mapping[bytes, Callable[[IO[bytes]], Any]] = {  # by how such a file begins
    b"\x1f\x8b\x08": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}


class _Content:
    """What is in a file, unpacked, as `tarfile` reads it. Remembers what was read last: `tarfile` takes a header that
    is damaged or cut off for the archive's end, and only its bytes tell the two apart."""

    def __init__(self, file: IO[bytes]) -> None:
        beginning = file.read(max(map(len, _UNPACK)))
        file.seek(0)
        self._file: IO[bytes] = next(
            (unpack(file) for magic, unpack in _UNPACK.items() if beginning.startswith(magic)), file
        )
        self._last = b""

    def read(self, size: int) -> bytes:
        self._last = self._file.read(size)
        return self._last

    def seek(self, position: int) -> int:
        return self._file.seek(position)

    def tell(self) -> int:
        return self._file.tell()

    def require_end(self) -> None:
        """Raises tarfile.ReadError where the last header is not the empty block that closes an archive."""
        if not self._last:
            raise tarfile.ReadError("it ends without the empty blocks that close a tar file")
        if len(self._last) < tarfile.BLOCKSIZE:
            raise tarfile.ReadError("the next header is damaged (truncated header)")
        if any(self._last):
            raise tarfile.ReadError("the next header is damaged")


class TarFiles:
    """See Source. The key of an image is its name in the archive; with several archives, the archive's name comes
    first."""

    def __init__(self, files: Sequence[File], formats: Collection[Format], max_image_bytes: int) -> None:
        self.name = str(files[0]) if len(files) == 1 else f"{len(files):,} tar files"
        self.total: int | None = None
        self.left_out: Counter[str] = Counter()
        self._files = files
        self._formats = formats
        self._max_image_bytes = max_image_bytes
        self._sizes: list[int] = []
        self._read_bytes = 0  # of the files before
        self._open: IO[bytes] | None = None

    def survey(self, folder: Path) -> dict[str, Any]:
        del folder
        states = [state_of(file) for file in self._files]
        self._sizes = [state["size_bytes"] for state in states]
        return {"kind": "tar", "files": states}

    def entries(self, start: int) -> Iterator[Entry]:
        self.left_out.clear()
        self._read_bytes = count = 0
        for file, size_bytes in zip(self._files, self._sizes, strict=True):
            for entry in self._images(file, start - count):
                count += 1
                if entry is not None:
                    yield entry
            self._read_bytes += size_bytes
        if not count:
            counted_kinds = image_folders.counted(self.left_out) or "no file"
            suffixes = image_formats.suffixes(self._formats)
            raise BadSource(f"{self.name}: expected images ({suffixes}) in it, found {counted_kinds}")

    def fraction(self) -> float | None:
        within = 0 if self._open is None else self._open.tell()
        return (self._read_bytes + within) / max(1, sum(self._sizes))

    def _images(self, file: File, skipped: int) -> Iterator[Entry | None]:
        """An entry for each image of a file; None in place of the first `skipped`, which are not read."""
        last = "its beginning"
        try:
            with file.open("rb") as self._open:
                content = _Content(self._open)
                tar = tarfile.open(fileobj=cast(Any, content), mode="r:")  # noqa: SIM115 - nothing of its own to close
                while (member := tar.next()) is not None:
                    tar.members = []  # type: ignore[attr-defined]  # it would keep all that it has met
                    last = f"member {printable(member.name)}"
                    if self._is_image(member):
                        skipped -= 1
                        yield None if skipped >= 0 else Entry(self._key(file, member), self._content(tar, member))
                content.require_end()
        except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise BadSource(
                f"{file}: cannot be read on behind {last}: {reason}. Expected a whole tar file "
                f"({', '.join(SUFFIXES)}); fetch or pack it again"
            ) from error
        finally:
            self._open = None

    def _is_image(self, member: tarfile.TarInfo) -> bool:
        parts = PurePosixPath(member.name).parts
        if not member.isfile() or any(map(image_folders.is_hidden, (part for part in parts if part != "."))):
            return False
        if image_formats.of_name(member.name) in self._formats:
            return True
        self.left_out[image_folders.kind(member.name)] += 1
        return False

    def _content(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | Missing:
        if member.size > self._max_image_bytes:
            return too_large(member.size, self._max_image_bytes)
        file = archive.extractfile(member)
        assert file is not None  # it is a regular file
        return file.read()

    def _key(self, file: File, member: tarfile.TarInfo) -> str:
        return printable(member.name if len(self._files) == 1 else f"{file.name}/{member.name}")
