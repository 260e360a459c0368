"""The thread that keeps a cache equal to a store while the server runs: when it looks at the store, and what the
server's start waits for."""

from __future__ import annotations

import logging
import random
import threading
import time
from pathlib import Path

from covey_server.errors import InvalidConfiguration, NoModels
from covey_server.remote.address import Address
from covey_server.remote.cache import Cache
from covey_server.remote.store import open_store
from covey_server.remote.sync import Result, Sync, SyncFigures

log = logging.getLogger(__name__)

MAX_DELAY_S = 300.0
_FIRST_DELAY_S = 1.0
_SECOND_LOOK_S = 1.0
_FOLLOWER_S = 1.0
_ATTEMPTS = 4  # at the start, while there is nothing to serve
_PATIENCE_S = 20.0  # at the start, while the cache could be served


class Mirror:
    """Mirrors a store into `folder`. `start` it, then `stop` it."""

    def __init__(self, address: Address, folder: Path, interval_s: float) -> None:
        """Looks at the store every `interval_s`; with 0 only until the cache is equal to it."""
        self.folder = folder
        self._address = address
        self._cache = Cache(folder)
        self._sync = Sync(address.display_url, lambda: open_store(address), self._cache)
        self._backoff = Backoff(interval_s)
        self._changed = threading.Condition()
        self._looks = self._failed = 0
        self._result: Result | None = None
        self._configuration_error: InvalidConfiguration | None = None
        self._thread = threading.Thread(target=self._run, name="models-sync", daemon=True)

    def start(self) -> None:
        """Returns once the cache is equal to the store or, where that takes too long, can be served. Raises NoModels if
        there is nothing to serve, and InvalidConfiguration."""
        had_models = self._cache.has_models
        log.info("models are mirrored from %s into %s", self._address.display_url, self.folder)
        self._thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self._may_serve(had_models), _PATIENCE_S if had_models else None)
        if self._configuration_error is not None:
            raise self._configuration_error
        if self._result is Result.SETTLED or (self._result is Result.FOLLOWS and self._cache.synced_s is not None):
            return
        if self._cache.has_models:
            log.warning(
                "serving the models in the cache %s%s; %s", self.folder, _age(self._cache.synced_s),
                f"the store: {self._sync.error}" if self._sync.error else "what is newer is still being fetched",
            )  # fmt: skip
            return
        self.stop(0)
        raise NoModels(
            f"no model can be had from {self._address.display_url}, tried {self._failed} times: {self._sync.error}; "
            f"and none is in the cache {self.folder}. Check the URL of --models, the credentials in the environment, "
            f"and the network"
        )

    def stop(self, timeout_s: float = 5.0) -> bool:
        """Ends the thread. Returns False if it still waits for the store after that time."""
        self._sync.stopping.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        if self._thread.is_alive():
            return False
        self._cache.close()
        return True

    def figures(self) -> SyncFigures:
        """Figures for the metrics, from any thread."""
        return self._sync.figures()

    def _may_serve(self, had_models: bool) -> bool:
        """Whether the server's start need not wait any longer: it goes on, or is given up."""
        if self._configuration_error is not None or self._result is Result.SETTLED:
            return True
        if self._result is Result.FOLLOWS:
            return self._cache.synced_s is not None or had_models
        if self._looks > 1 and self._result is Result.PENDING:
            return self._cache.has_models
        return self._failed >= (1 if had_models or self._cache.has_models else _ATTEMPTS)

    def _run(self) -> None:
        # At the usual priority: where all cores are busy, reads would otherwise come to their time limits.
        is_logged = False
        while not self._sync.stopping.is_set():
            result = Result.FAILED
            try:
                result = self._sync.look()
            except InvalidConfiguration as error:
                self._configuration_error = error
            except Exception:
                if not is_logged:
                    log.exception("looking at the models' store failed; this is a bug. Retrying")
                is_logged = True
            with self._changed:
                self._result = result
                self._looks += 1
                self._failed += result in (Result.FAILED, Result.INCOMPLETE)
                self._changed.notify_all()
            delay_s = self._backoff.delay_s(result)
            if delay_s is None or self._configuration_error is not None:
                return
            self._sync.stopping.wait(delay_s)


class Backoff:
    """How long to wait for the next look."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._failures = 0

    def delay_s(self, result: Result) -> float | None:
        """The delay after a look with this `result`; None: no more looks."""
        if result in (Result.FAILED, Result.INCOMPLETE):
            self._failures += 1
            longest_s = min(self._limit_s(result), _FIRST_DELAY_S * 2.0 ** min(self._failures - 1, 30))
            # So that many servers do not come back to a store at the same moment.
            return longest_s * random.uniform(0.5, 1.0)
        self._failures = 0
        if result is Result.PENDING:
            return min(_SECOND_LOOK_S, self._interval_s or _SECOND_LOOK_S)
        if result is Result.FOLLOWS:
            return _FOLLOWER_S
        return self._interval_s or None

    def _limit_s(self, result: Result) -> float:
        """The longest delay. A version that cannot be fetched must not delay others."""
        return max(1.0, self._interval_s) if result is Result.INCOMPLETE and self._interval_s else MAX_DELAY_S


def _age(synced_s: float | None) -> str:
    if synced_s is None:
        return ""
    return f", as the store was at {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(synced_s))}"
