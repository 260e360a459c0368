"""The image files below a prefix of an S3 bucket, as those of a folder: the same names in the same order, listed before
the first one is read, and left out the same way. Many are read at once, ahead of whoever takes them."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter, deque
from collections.abc import Callable, Collection, Generator, Iterator
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from covey_proto import image_folders, image_formats
from covey_proto.image_formats import Format
from covey_server.offline.errors import BadSource, Stopped
from covey_server.offline.sources.bucket_files import address_of, bucket_and_key, read_error
from covey_server.offline.sources.folder import LIST, no_images
from covey_server.offline.sources.source import Entry, Missing, too_large
from covey_server.remote.objects import CONNECTIONS, Listed, ObjectFailed, Objects
from covey_server.remote.store import StoreFailed

AHEAD_BYTES = 16 << 20  # and one image more


class _Image(NamedTuple):
    """An image that is on its way, or is not to come."""

    name: str
    listed: Listed
    content: Future[bytes] | Missing

    @property
    def size_bytes(self) -> int:
        return 0 if isinstance(self.content, Missing) else self.listed.size_bytes


class BucketFolder:
    """See Source. The key of an image is its path below the prefix."""

    def __init__(
        self, url: str, formats: Collection[Format], max_image_bytes: int, watch: Callable[[], None] = lambda: None
    ) -> None:
        """Connects to nothing yet. `watch` is called as by Objects. Raises InvalidConfiguration."""
        address = address_of(url)
        self.name = address.url
        self.total: int | None = None
        self.left_out: Counter[str] = Counter()
        self._formats = formats
        self._max_image_bytes = max_image_bytes
        self._objects = Objects(address, watch)
        self._bucket, prefix = bucket_and_key(address)
        self._prefix = prefix and f"{prefix}/"
        self._list: Path | None = None

    def survey(self, folder: Path) -> dict[str, Any]:
        """See Source. A database sorts: a bucket's order is another one than that of a folder, and its names may not
        fit into memory."""
        count, digest = 0, hashlib.sha256()
        self._list = folder / LIST
        try:
            self._list.unlink(missing_ok=True)
            with closing(sqlite3.connect(self._list)) as database:
                database.execute("PRAGMA journal_mode = OFF")  # it is made anew each time
                database.execute("CREATE TABLE files (place BLOB PRIMARY KEY, size, etag) WITHOUT ROWID")
                database.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", self._images())
                database.commit()
                for row in database.execute("SELECT * FROM files ORDER BY place"):
                    count += 1
                    digest.update(b"%b\0%d %b\0" % (row[0], row[1], row[2].encode()))
        except StoreFailed as error:
            raise BadSource(f"{self.name}: {error}") from error
        except sqlite3.Error as error:
            raise Stopped(f"{self._list} cannot be written: {error}") from error
        if not count:
            raise no_images(self.name, self._formats, self.left_out)
        self.total = count
        return {"kind": "folder", "images": count, "sha256": digest.hexdigest()}

    def entries(self, start: int) -> Iterator[Entry]:
        ahead: deque[_Image] = deque()
        with closing(self._listed(start)) as remaining:
            try:
                while self._read_ahead(ahead, remaining):
                    image = ahead.popleft()
                    yield Entry(image.name, self._content(image))
            finally:
                for image in ahead:
                    if not isinstance(image.content, Missing):
                        image.content.cancel()

    def fraction(self) -> float | None:
        return None

    def _images(self) -> Iterator[tuple[bytes, int, str]]:
        """Place, size and ETag of each image. Places have the order of a folder, where `a/b` comes before `a.b`."""
        for listed in self._objects.listed(self._bucket, self._prefix):
            name = listed.key.removeprefix(self._prefix)
            if name.endswith("/") or any(map(image_folders.is_hidden, name.split("/"))):
                continue
            if image_formats.of_name(name) in self._formats:
                yield name.replace("/", "\0").encode(), listed.size_bytes, listed.etag
            else:
                self.left_out[image_folders.kind(name)] += 1

    def _listed(self, start: int) -> Generator[tuple[str, Listed]]:
        assert self._list is not None
        with closing(sqlite3.connect(self._list)) as database:
            for place, size_bytes, etag in database.execute(
                "SELECT * FROM files ORDER BY place LIMIT -1 OFFSET ?", (start,)
            ):
                name = place.decode().replace("\0", "/")
                yield name, Listed(self._bucket, self._prefix + name, size_bytes, etag)

    def _read_ahead(self, ahead: deque[_Image], remaining: Iterator[tuple[str, Listed]]) -> bool:
        """Begins to read as many images as may be on their way. Returns False at the end."""
        while len(ahead) < CONNECTIONS and sum(image.size_bytes for image in ahead) < AHEAD_BYTES:
            if (following := next(remaining, None)) is None:
                break
            ahead.append(self._started(*following))
        return bool(ahead)

    def _started(self, name: str, listed: Listed) -> _Image:
        if listed.size_bytes > self._max_image_bytes:
            return _Image(name, listed, too_large(listed.size_bytes, self._max_image_bytes))
        return _Image(name, listed, self._objects.read(listed))

    def _content(self, image: _Image) -> bytes | Missing:
        if isinstance(image.content, Missing):
            return image.content
        try:
            return self._objects.wait_for(image.content)
        except ObjectFailed as error:
            return Missing(str(error))
        except StoreFailed as error:
            raise read_error(error, image.listed) from error
