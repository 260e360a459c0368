"""Compares the store with the cache, again and again, and fetches, verifies, installs and removes what differs.

- A change is followed when two looks in a row find the same, as in a local folder: an upload that is not whole waits.
- What comes is checked by its size, by its state in the store before and after, and by SHA256SUMS where there is one.
  What is wrong is not fetched again until it changes in the store.
- A store that cannot be read, or holds no model any more, changes nothing.
"""

from __future__ import annotations

import enum
import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from covey_proto import layout
from covey_server.remote import digests
from covey_server.remote.cache import Cache, Entry
from covey_server.remote.listing import Files, Listing, Stamp
from covey_server.remote.store import Store, StoreFailed, digest_in, read_small
from covey_server.system.regular_files import open_regular

log = logging.getLogger(__name__)

SyncFailure = Literal["store", "digest", "disk"]
SYNC_FAILURES: tuple[SyncFailure, ...] = get_args(SyncFailure)


class Result(enum.Enum):
    """The result of one look at the store."""

    SETTLED = enum.auto()
    """The cache is as the store, but for what is refused."""

    PENDING = enum.auto()
    """Something has changed; the next look says whether the change is complete."""

    INCOMPLETE = enum.auto()
    """The store can be read, and a part of it could not be fetched."""

    FAILED = enum.auto()
    """The store, or the cache, cannot be used."""

    FOLLOWS = enum.auto()
    """Another process looks after this cache."""


@dataclass(frozen=True)
class SyncFigures:
    """Figures for the metrics. `synced_s` is in seconds from 1970; None: never."""

    synced_s: float | None
    failures: Mapping[SyncFailure, int]
    fetched_bytes: int


class _Refused(Exception):
    """The content is not what SHA256SUMS says."""


class _NotReady(Exception):
    """It is not complete in the store yet, or changed while it was fetched."""


class Sync:
    """Keeps a cache equal to a store, by `look`, which is called from one thread."""

    def __init__(self, display_url: str, open_store: Callable[[], Store], cache: Cache) -> None:
        """`display_url` is the store's URL for people. `open_store` is called once this process has the cache's lock;
        it raises InvalidConfiguration."""
        self.stopping = threading.Event()  # set: gives up what is being fetched
        self.error = ""  # why the last look failed; "": it did not
        self._display_url = display_url
        self._open_store = open_store
        self._store: Store | None = None
        self._cache = cache
        self._last_listing: Listing | None = None
        self._refused: dict[str, Files] = {}  # what is not fetched again as long as it looks like this
        self._last_messages: dict[str, str] = {}  # what was logged of a path last
        self._failing_since_s: float | None = None
        self._failures: dict[SyncFailure, int] = dict.fromkeys(SYNC_FAILURES, 0)
        self._fetched_bytes = 0

    def figures(self) -> SyncFigures:
        """Figures for the metrics, from any thread."""
        return SyncFigures(self._cache.synced_s, dict(self._failures), self._fetched_bytes)

    def look(self) -> Result:
        """Compares the store with the cache once and carries out the changes. The first call may raise
        InvalidConfiguration."""
        try:
            if not self._cache.lock():
                return Result.FOLLOWS
        except OSError as error:
            self._fail("disk", "", f"the models' cache {self._cache.folder} cannot be written: {error}")
            return Result.FAILED
        if self._store is None:
            self._store = self._open_store()
        try:
            listing = Listing.of(self._store.list())
            if not listing.versions:
                examples = f"; there are: {', '.join(listing.examples)}" if listing.examples else ""
                raise StoreFailed(f"it holds no NAME/VERSION/{layout.FILE_NAME}{examples}")
        except StoreFailed as error:
            return self._store_failed(str(error))
        self._store_is_back()
        previous, self._last_listing = self._last_listing, listing
        result = self._apply_changes(self._store, listing, previous or Listing({}, {}))
        if result is not Result.INCOMPLETE:
            self.error = ""
        if result is Result.SETTLED:
            self._cache.mark_synced()
        return result

    def _apply_changes(self, store: Store, listing: Listing, previous: Listing) -> Result:
        steps: list[tuple[str, bool, Callable[[], None]]] = []  # path, whether it is stable, what to do
        for unit, files in listing.versions.items():
            if not self._cache.holds(unit, files):
                is_stable = previous.versions.get(unit) == files
                steps.append((unit, is_stable, partial(self._fetch, store, unit, files)))
        for path, stamp in listing.choices.items():  # behind the versions, which they name
            if self._cache.entry(path, stamp) is None:
                is_stable = previous.choices.get(path) == stamp
                steps.append((path, is_stable, partial(self._fetch_choice, store, path, stamp)))
        for path in self._cache.present():
            if path not in listing.versions and path not in listing.choices:
                is_stable = bool(previous.versions) and path not in previous.versions and path not in previous.choices
                steps.append((path, is_stable, partial(self._remove, path)))
        state = {**listing.versions, **{path: {"": stamp} for path, stamp in listing.choices.items()}}
        results = [self._try_step(path, is_stable, state.get(path, {}), action) for path, is_stable, action in steps]
        worst = (Result.INCOMPLETE, Result.PENDING)
        return next((result for result in worst if result in results), Result.SETTLED)

    def _try_step(self, path: str, is_stable: bool, files: Files, action: Callable[[], None]) -> Result:
        """Does one step, if it is stable. A step that fails does not keep others from being done."""
        if not is_stable:
            return Result.PENDING
        if files and self._refused.get(path) == files:
            return Result.SETTLED
        try:
            action()
        except _Refused as error:
            self._refused[path] = files
            self._cache.forget_partial(path)
            self._fail("digest", path, f"{error}. What was served stays; it is fetched again once it changes there")
            return Result.SETTLED
        except _NotReady as error:
            self._refused[path] = files
            self._log_once(logging.WARNING, path, str(error))
            return Result.PENDING
        except StoreFailed as error:
            if not self.stopping.is_set():
                self._fail("store", path, f"cannot be fetched: {error}")
            return Result.INCOMPLETE
        except OSError as error:
            self._cache.forget_partial(path)
            self._fail("disk", path, f"cannot be put into the cache: {error}. What was served stays")
            return Result.INCOMPLETE
        self._refused.pop(path, None)
        self._last_messages.pop(path, None)
        return Result.SETTLED

    def _fetch(self, store: Store, unit: str, files: Files) -> None:
        """Fetches the changed files of a version and installs them."""
        began_s = time.monotonic()
        expected, entries = self._digests(store, unit, files)
        due = {
            name: stamp
            for name, stamp in files.items()
            if name != digests.FILE and self._cache.entry(f"{unit}/{name}", stamp) is None
        }
        self._cache.require_room(sum(stamp.size_bytes or 0 for stamp in due.values()))
        fetched: dict[str, Path] = {}
        for name, stamp in files.items():
            if name == digests.FILE:
                continue
            path = f"{unit}/{name}"
            if name in due:
                fetched[name], entries[name] = self._download(store, path, stamp)
            else:
                entries[name] = self._cache.entries[path]
            _require_digest(path, entries[name].sha256, expected.get(name) or digest_in(stamp))
        size_bytes = sum(path.stat().st_size for path in fetched.values())
        self._cache.install(unit, fetched, entries)
        log.info(
            "%s is fetched: %.1f MiB in %.1f s%s", self._name(unit), size_bytes / 2**20, time.monotonic() - began_s,
            ", verified by SHA256SUMS" if expected or digest_in(files[layout.FILE_NAME]) else "",
        )  # fmt: skip

    def _digests(self, store: Store, unit: str, files: Files) -> tuple[dict[str, str], dict[str, Entry]]:
        """The digests in the SHA256SUMS of a version, and its entry; nothing where there is none."""
        stamp = files.get(digests.FILE)
        if stamp is None:
            return {}, {}
        content = read_small(store, f"{unit}/{digests.FILE}", stamp.size_bytes)
        try:
            expected = digests.parse(content)
        except ValueError as error:
            raise _Refused(f"its {digests.FILE} cannot be used: {error}") from None
        if layout.FILE_NAME not in expected:
            raise _Refused(f"its {digests.FILE} has no line for {layout.FILE_NAME}")
        if missing := sorted((expected.keys() & set(layout.BESIDE)) - files.keys()):
            raise _NotReady(f"is not fetched yet: its {digests.FILE} names {', '.join(missing)}, which the store lacks")
        return expected, {digests.FILE: Entry(stamp, hashlib.sha256(content).hexdigest())}

    def _fetch_choice(self, store: Store, path: str, stamp: Stamp) -> None:
        fetched, entry = self._download(store, path, stamp)
        _require_digest(path, entry.sha256, digest_in(stamp))
        self._cache.install_choice(path, fetched, entry)

    def _remove(self, path: str) -> None:
        self._cache.remove(path)
        log.info("%s is removed from the cache: the store does not hold it any more", self._name(path))

    def _download(self, store: Store, path: str, stamp: Stamp) -> tuple[Path, Entry]:
        """Downloads a file chunk by chunk, from where it was interrupted if the store can do that."""
        target = self._cache.partial(path, stamp)
        digest, size_bytes = hashlib.sha256(), 0
        if store.resumes and target.exists():
            with open_regular(target) as (descriptor, _), open(descriptor, "rb", closefd=False) as file:
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
                    size_bytes += len(chunk)
        with target.open("ab" if size_bytes else "wb") as file:
            for chunk in store.chunks(path, size_bytes, stamp.size_bytes):
                if self.stopping.is_set():
                    raise StoreFailed("the server stops")
                file.write(chunk)
                file.flush()  # what is there after a cut is what was hashed
                digest.update(chunk)
                size_bytes += len(chunk)
                self._fetched_bytes += len(chunk)
            os.fsync(file.fileno())
        if stamp.size_bytes is not None and size_bytes != stamp.size_bytes:
            target.unlink()
            raise StoreFailed(f"{size_bytes:,} bytes came; expected {stamp.size_bytes:,}")
        if store.stamp(path) not in (None, stamp):
            target.unlink()
            raise _NotReady("changed in the store while it was fetched; it is fetched again once it rests")
        return target, Entry(stamp, digest.hexdigest())

    def _store_failed(self, reason: str) -> Result:
        if self._failing_since_s is None:
            self._failing_since_s = time.monotonic()
            log.error(
                "the models' store %s cannot be read: %s. %s the cache %s; the store is tried again, more and more "
                "rarely", self._display_url, reason,
                "Served is what is in" if self._cache.has_models else "Nothing is in", self._cache.folder,
            )  # fmt: skip
        self._failures["store"] += 1
        self.error = reason
        return Result.FAILED

    def _store_is_back(self) -> None:
        if self._failing_since_s is not None:
            log.warning(
                "the models' store %s is back after %.0f s", self._display_url, time.monotonic() - self._failing_since_s
            )
            self._failing_since_s = None

    def _fail(self, reason: SyncFailure, path: str, text: str) -> None:
        self._failures[reason] += 1
        self.error = f"{self._name(path)} {text}" if path else text
        self._log_once(logging.ERROR, path, text)

    def _log_once(self, level: int, path: str, text: str) -> None:
        """Logs a message about a path, unless it is the last one that was logged about it."""
        if self._last_messages.get(path) != text:
            log.log(level, "%s", f"{self._name(path)} {text}" if path else text)
            self._last_messages[path] = text

    def _name(self, path: str) -> str:
        return f"{self._display_url}/{path}"


def _require_digest(path: str, actual: str, expected: str | None) -> None:
    if expected is not None and actual != expected:
        name = path.rpartition("/")[2]
        raise _Refused(f"is refused: {name} has the SHA-256 {actual}, expected {expected} by {digests.FILE}")
