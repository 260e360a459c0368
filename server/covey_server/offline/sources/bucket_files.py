"""Objects of an S3 bucket in place of files: named one by one or by a pattern, and read ahead in blocks."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from covey_proto import image_folders
from covey_server.offline.errors import BadSource, Stopped
from covey_server.offline.sources.source import file_state
from covey_server.remote.address import Address
from covey_server.remote.objects import Listed, Objects, StoreAway
from covey_server.remote.store import StoreFailed

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK_BYTES = 4 << 20
BLOCKS_AHEAD = 3  # read while another one is used
BLOCKS_HELD = 6  # with those that were used last: readers of Parquet go between columns
_BUFFER_BYTES = 1 << 20


class BucketFile:
    """An object that is read as a file is: it has what sources use of a Path."""

    def __init__(self, objects: Objects, listed: Listed) -> None:
        self.name = PurePosixPath(listed.key).name
        self._objects = objects
        self._listed = listed

    def __str__(self) -> str:
        return self._listed.url

    def state(self) -> dict[str, Any]:
        """Its name and state, which differ once it has changed."""
        return {"name": self.name, "size_bytes": self._listed.size_bytes, "etag": self._listed.etag}

    def open(self, mode: str = "rb") -> IO[bytes]:
        """A file of the object's bytes, to be closed. Reading raises BadSource where the object is no longer what was
        listed, Stopped where the store is away."""
        assert mode == "rb"
        return io.BufferedReader(_Blocks(self._objects, self._listed), _BUFFER_BYTES)


File: TypeAlias = Path | BucketFile
"""A file of a source, on this machine or in a bucket."""


class _Blocks(io.RawIOBase):
    """An object's bytes, in blocks. Where they are read one after the other, the next ones are on their way."""

    def __init__(self, objects: Objects, listed: Listed) -> None:
        self._objects = objects
        self._listed = listed
        self._position = 0
        self._blocks: OrderedDict[int, Future[bytes]] = OrderedDict()  # those used last are last

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._listed.size_bytes}[whence]
        self._position = max(0, origin + offset)
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        if self._position >= self._listed.size_bytes:
            return 0
        number, offset = divmod(self._position, BLOCK_BYTES)
        try:
            block = self._objects.wait_for(self._block(number))
        except StoreFailed as error:
            raise read_error(error, self._listed) from error
        view = memoryview(buffer).cast("B")
        part = memoryview(block)[offset : offset + len(view)]
        view[: len(part)] = part
        self._position += len(part)
        return len(part)

    def close(self) -> None:
        for block in self._blocks.values():
            block.cancel()
        self._blocks.clear()
        super().close()

    def _block(self, number: int) -> Future[bytes]:
        is_in_order = number == 0 or number - 1 in self._blocks
        for wanted in range(number, number + 1 + (BLOCKS_AHEAD if is_in_order else 0)):
            start = wanted * BLOCK_BYTES
            if wanted not in self._blocks and start < self._listed.size_bytes:
                stop = min(self._listed.size_bytes, start + BLOCK_BYTES)
                self._blocks[wanted] = self._objects.read(self._listed, start, stop)
            elif wanted in self._blocks:
                self._blocks.move_to_end(wanted)
        while len(self._blocks) > BLOCKS_HELD:
            self._blocks.popitem(last=False)[1].cancel()
        return self._blocks[number]


def state_of(file: File) -> dict[str, Any]:
    """A file's name and state, which differ once it has changed. Raises BadSource."""
    return file.state() if isinstance(file, BucketFile) else file_state(file)


def address_of(url: str) -> Address:
    """The address of a source. Raises InvalidConfiguration."""
    if not url.startswith("s3://"):
        scheme = url.partition("://")[0]
        raise BadSource(
            f"{url}: {scheme}:// is not read, only s3:// is; copy it first, or mount it (rclone mount), and name the "
            f"folder"
        )
    return Address.parse(url, "")


def bucket_and_key(address: Address) -> tuple[str, str]:
    bucket, _, key = address.url.removeprefix("s3://").partition("/")
    return bucket, key


def find(url: str, watch: Callable[[], None] = lambda: None) -> Sequence[BucketFile]:
    """The object of a URL, or those that match its pattern, by key; `*` and `[...]` stand for parts of one name.
    `watch` is called as by Objects. Raises InvalidConfiguration."""
    address = address_of(url)
    objects = Objects(address, watch)
    bucket, key = bucket_and_key(address)
    fixed = key[: min((key.index(sign) for sign in "*[" if sign in key), default=len(key))]
    found = []
    try:
        for listed in objects.listed(bucket, fixed):
            if listed.key == key:
                return [BucketFile(objects, listed)]
            if fixed == key:
                break  # the object would come before all whose keys go on
            if _matches(listed.key, key):
                found.append(BucketFile(objects, listed))
    except StoreFailed as error:
        raise BadSource(f"{address.url}: {error}") from error
    if not found:
        raise BadSource(
            f"{address.url}: there is no such object; name one, a pattern such as s3://{bucket}/shards/*.tar, or the "
            f"prefix of a folder of images"
        )
    return sorted(found, key=str)


def read_error(error: StoreFailed, listed: Listed) -> BadSource | Stopped:
    """The error that ends a batch when an object cannot be read."""
    kind = Stopped if isinstance(error, StoreAway) else BadSource
    return kind(f"{listed.url}: {error}")


def _matches(key: str, pattern: str) -> bool:
    """Whether they have as many parts and each part matches; as for a shell, a pattern does not mean hidden names."""
    path = PurePosixPath(key)
    return key.count("/") == pattern.count("/") and path.match(pattern) and not image_folders.is_hidden(path.name)
