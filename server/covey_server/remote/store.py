"""Reads a store by fsspec: its listing, and files in chunks. Whatever a library raises becomes StoreFailed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Protocol

from covey_server.errors import CoveyServerError, InvalidConfiguration
from covey_server.remote import digests
from covey_server.remote.address import PACKAGES, Address, redact
from covey_server.remote.listing import Stamp

CHUNK_BYTES = 8 << 20  # of one request; no more of a file is in memory
_CONNECT_S, _READ_S = 10, 30  # a store that is silent for so long counts as away
_TRIES = 3
_DIGEST = "sha256:"
# Fields by which stores tell that a file's content has changed; the first that is present counts.
_TAGS = ("ETag", "etag", "blob_id", "md5Hash", "content_md5", "mtime", "LastModified", "last_modified", "updated")


class StoreFailed(CoveyServerError):
    """The store, or a file of it, cannot be read now."""


class Store(Protocol):
    """What a mirror needs of a store. All methods raise StoreFailed."""

    resumes: bool
    """Whether reading can begin within a file."""

    def list(self) -> Mapping[str, Stamp]:
        """The files below the store's root, by their paths relative to it."""

    def stamp(self, path: str) -> Stamp | None:
        """The state of one file now; None where only its digest can tell whether it has changed."""

    def chunks(self, path: str, offset: int, size_bytes: int | None) -> Iterator[bytes]:
        """A file's content from `offset` on, at most CHUNK_BYTES at a time."""


class ListedStore:
    """A store that can list what it holds: s3, gs, az, hf."""

    resumes = True

    def __init__(self, filesystem: Any, root: str) -> None:  # noqa: ANN401 - fsspec has no types
        self._filesystem = filesystem
        self._root = root.rstrip("/") + "/"

    def list(self) -> Mapping[str, Stamp]:
        with _as_store_failed():
            self._filesystem.invalidate_cache()
            infos = self._filesystem.find(self._root, detail=True)
            return {path.removeprefix(self._root): _stamp(info) for path, info in infos.items()}

    def stamp(self, path: str) -> Stamp | None:
        with _as_store_failed():
            self._filesystem.invalidate_cache()
            return _stamp(self._filesystem.info(self._root + path))

    def chunks(self, path: str, offset: int, size_bytes: int | None) -> Iterator[bytes]:
        end = self._size(path) if size_bytes is None else size_bytes
        while offset < end:
            with _as_store_failed():
                chunk = self._filesystem.cat_file(self._root + path, start=offset, end=min(end, offset + CHUNK_BYTES))
            if not chunk:
                raise StoreFailed(f"{path} ends after {offset:,} bytes; expected {end:,}")
            yield chunk
            offset += len(chunk)

    def _size(self, path: str) -> int:
        with _as_store_failed():
            return int(self._filesystem.info(self._root + path)["size"])


class IndexedStore:
    """A web server, which lists nothing: the file SHA256SUMS at its root says what there is."""

    resumes = False

    def __init__(self, filesystem: Any, root: str) -> None:  # noqa: ANN401 - fsspec has no types
        self._filesystem = filesystem
        self._root = root.rstrip("/") + "/"

    def list(self) -> Mapping[str, Stamp]:
        content = read_small(self, digests.FILE, None)
        try:
            return {path: Stamp(None, _DIGEST + digest) for path, digest in digests.parse(content).items()}
        except ValueError as error:
            raise StoreFailed(f"its {digests.FILE} cannot be used: {error}") from None

    def stamp(self, path: str) -> Stamp | None:
        return None

    def chunks(self, path: str, offset: int, size_bytes: int | None) -> Iterator[bytes]:
        with _as_store_failed(), self._filesystem.open(self._root + path, "rb", block_size=0) as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk


def digest_in(stamp: Stamp) -> str | None:
    """The SHA-256 that a file must have by its stamp; None where the stamp is none."""
    return stamp.tag.removeprefix(_DIGEST) if stamp.tag.startswith(_DIGEST) else None


def read_small(store: Store, path: str, size_bytes: int | None) -> bytes:
    """The whole content of a small file. Raises StoreFailed, also for one of more than digests.MAX_BYTES."""
    content = b""
    for chunk in store.chunks(path, 0, size_bytes):
        content += chunk
        if len(content) > digests.MAX_BYTES:
            raise StoreFailed(f"{path} has more than {digests.MAX_BYTES:,} bytes")
    return content


def open_store(address: Address) -> Store:
    """The store at a URL; connects to nothing yet. Raises InvalidConfiguration where a package is missing."""
    filesystem, root = open_filesystem(address)
    make: Callable[[Any, str], Store] = IndexedStore if address.scheme in ("http", "https") else ListedStore
    return make(filesystem, root)


def open_filesystem(address: Address, option: str = "--models ", **s3_config: object) -> tuple[Any, str]:
    """fsspec's file system for a URL, and the URL's path in it; connects to nothing yet. `s3_config` are settings of
    botocore beside those made here. Raises InvalidConfiguration where a package is missing; `option` precedes the URL
    in its message."""
    try:
        return _open(address, s3_config)
    except (ImportError, ValueError) as error:  # fsspec's own ways to say that there is no package for it
        raise InvalidConfiguration(
            f"{option}{address.display_url}: {redact(str(error))}; to read {address.scheme}:// install: "
            f"pip install {PACKAGES[address.scheme]}"
        ) from error


def _open(address: Address, s3_config: Mapping[str, object]) -> tuple[Any, str]:
    import fsspec

    options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
    if address.scheme in ("http", "https"):
        from aiohttp import ClientTimeout

        timeout = ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_READ_S)
        options["client_kwargs"] = {"timeout": timeout}
    if address.scheme == "s3":
        logging.getLogger("aiobotocore").setLevel(logging.WARNING)  # it tells where each setting comes from
        retries = {"max_attempts": 1}  # s3fs tries again by itself
        config = {"connect_timeout": _CONNECT_S, "read_timeout": _READ_S, "retries": retries}
        options["config_kwargs"] = {**config, **s3_config}
    filesystem, root = fsspec.core.url_to_fs(address.url, **options)
    if hasattr(filesystem, "retries"):
        filesystem.retries = _TRIES
    return filesystem, root


def _stamp(info: Mapping[str, Any]) -> Stamp:
    return Stamp(int(info["size"]), next(filter(None, (_text(info.get(key)) for key in _TAGS)), ""))


def _text(tag: object) -> str:
    if isinstance(tag, datetime):  # a listing may tell milliseconds, and the question about one file only seconds
        return str(int(tag.timestamp()))
    return str(tag or "").strip('"')


@contextmanager
def _as_store_failed() -> Iterator[None]:
    try:
        yield
    except StoreFailed:
        raise
    except Exception as error:
        text = str(error) or type(error).__name__
        raise StoreFailed(redact(text)[:500]) from error
