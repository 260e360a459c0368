"""Tar files, compressed or not, among them those of a WebDataset: members with the suffix of an image, in their
order."""

from __future__ import annotations

import tarfile
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO, Any, Self

from covey_proto import image_folders, image_formats
from covey_proto.image_formats import Format
from covey_server.offline.errors import BadSource
from covey_server.offline.sources.bucket_files import File, state_of
from covey_server.offline.sources.source import Entry, Missing, printable, too_large

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_READ_BYTES = 1 << 20


class _Header(tarfile.TarInfo):
    """A member's header. One that is damaged or cut off is an error: `tarfile` takes it for the archive's end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # the empty block that closes an archive
            raise
        except tarfile.EmptyHeaderError:  # type: ignore[attr-defined]
            raise tarfile.ReadError("it ends without the empty blocks that close a tar file") from None
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"the next header is damaged ({error})") from None


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
            with (
                file.open("rb") as self._open,
                tarfile.open(fileobj=self._open, mode="r|*", bufsize=_READ_BYTES, tarinfo=_Header) as tar,
            ):
                while (member := tar.next()) is not None:
                    tar.members = []  # type: ignore[attr-defined]  # it would keep all that it has met
                    last = f"member {printable(member.name)}"
                    if self._is_image(member):
                        skipped -= 1
                        yield None if skipped >= 0 else Entry(self._key(file, member), self._content(tar, member))
        except (tarfile.TarError, EOFError, zlib.error, LZMAError, OSError) as error:
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
