"""Loads or refuses one version at a time, and tells when a loaded model is freed. Keeps no model, and no error either,
since its stack would hold a half-built model.
"""

from __future__ import annotations

import logging
import queue
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from covey_proto.version_changes import differences
from covey_server.errors import CoveyServerError, StartupError
from covey_server.inference.served_model import ServedModel
from covey_server.models.catalog import RefusedVersion
from covey_server.models.folder import Fingerprint, Look, Problem, look_at, path_of

log = logging.getLogger(__name__)


class RepositoryObserver(Protocol):
    """Is told what happens (the metrics are, which this package does not import). All calls come from the thread that
    loads or refreshes, one at a time."""

    def model_loaded(self, model: ServedModel, load_s: float) -> None:
        """Called before the first request can get it. A version may be loaded again, with other content."""

    def model_refused(self, refusal: RefusedVersion) -> None:
        """Called once for each reason."""

    def model_unloaded(self, name: str, version: int) -> None:
        """Called when it left the catalog; requests that hold it are still answered."""

    def model_retired(self, name: str, version: int) -> None:
        """Called when it was freed: it was unloaded or replaced, and its last request is answered."""


@dataclass(frozen=True)
class Held:
    """A model that is served, and the state of the file that it was loaded from."""

    model: ServedModel
    look: Fingerprint


@dataclass(frozen=True)
class Refused:
    """A refused version, and the state of its file. `lasting`: the same file need not be tried again."""

    refusal: RefusedVersion
    look: Look
    lasting: bool = True


class Loader:
    """Loads versions, refuses them, and tells the observer."""

    def __init__(
        self, folder: Path, load_model: Callable[[str, int, Path], ServedModel], observer: RepositoryObserver
    ) -> None:
        self._folder = folder
        self._load_model = load_model
        self._observer = observer
        # A model may be freed by any thread at any point, under any lock: a SimpleQueue's put is safe there.
        self._freed: queue.SimpleQueue[tuple[str, int]] = queue.SimpleQueue()

    def settle(
        self,
        name: str,
        version: int,
        look: Look,
        held: Held | None,
        refused: Refused | None,
        current: ServedModel | None,
        starting: bool,
    ) -> tuple[Held | None, Refused | None]:
        """Decides about one version, whose file has not changed since the last look: what is held, and what is refused.
        `held` and `refused` are what was so far; `current` is the version for requests that name none. Raises a
        StartupError only when `starting`."""
        if look is None:
            return None, None
        if isinstance(look, Problem):
            return None if look.gone else held, self.refuse(name, version, look.reason, look, refused)
        if held is not None and held.look == look:
            return held, None
        if refused is not None and refused.look == look and refused.lasting:
            return held, refused
        began = time.monotonic()
        model, reason, lasting = self._try(name, version, starting)
        load_s = time.monotonic() - began
        now = look_at(path_of(self._folder, name, version))
        if isinstance(now, Problem) and now.gone:
            log.warning("model %s version %d was removed while it was loaded; it is not served", name, version)
            return held, None
        if now != look:
            reason = "its file changed while it was loaded; it is tried again once the file rests"
            return held, self.refuse(name, version, reason, look, refused)
        if model is None:
            if held is not None:
                reason += " (what its file held before is still served as this version)"
            return held, self.refuse(name, version, reason, look, refused, lasting)
        self._welcome(model, load_s, held is not None, current)
        return Held(model, look), None

    def refuse(
        self, name: str, version: int, reason: str, look: Look, known: Refused | None, lasting: bool = True
    ) -> Refused:
        """Makes a refusal, and tells it unless it is `known` already."""
        refusal = RefusedVersion(name, version, reason)
        if known is None or known.refusal != refusal:
            log.error("model %s version %d is refused: %s", name, version, reason)
            self._observer.model_refused(refusal)
        return Refused(refusal, look, lasting)

    def report_freed(self) -> None:
        """Tells of the models that were freed since the last time."""
        while not self._freed.empty():
            name, version = self._freed.get()
            log.info("model %s version %d is freed: its last request is answered", name, version)
            self._observer.model_retired(name, version)

    def _try(self, name: str, version: int, starting: bool) -> tuple[ServedModel | None, str, bool]:
        """The model, or the reason why there is none and whether that lasts until the file changes."""
        log.debug("model %s version %d: loading", name, version)
        try:
            return self._load_model(name, version, path_of(self._folder, name, version)), "", True
        except Exception as error:  # whatever it is, the other models have to be served
            if starting and isinstance(error, StartupError):
                raise
            if isinstance(error, CoveyServerError):
                return None, str(error), not isinstance(error.__cause__, OSError)
            log.exception("loading model %s version %d failed; this is a bug", name, version)
            return None, f"loading it failed with {type(error).__name__}; the server's log says why", True

    def _welcome(self, model: ServedModel, load_s: float, replaces: bool, current: ServedModel | None) -> None:
        """Announces a model that is about to be served."""
        weakref.finalize(model, self._freed.put, (model.name, model.version)).atexit = False
        log.info("model %s version %d: %s; ready after %.0f ms", model.name, model.version, _face(model), load_s * 1e3)
        if replaces:
            log.warning(
                "model %s version %d has other content than was loaded before, and is served with it from now on. "
                "Publish changes under a new version number: an answer names no more than that number",
                model.name, model.version,
            )  # fmt: skip
        if current is not None and (changes := differences(model.info, current.info)):
            log.warning(
                "model %s version %d differs from version %d: %s. Callers that name no version meet this once it is "
                "the default version",
                model.name, model.version, current.version, "; ".join(changes),
            )  # fmt: skip
        self._observer.model_loaded(model, load_s)


def _face(model: ServedModel) -> str:
    """A model's input and classes, which callers depend on."""
    return f"{'x'.join(map(str, model.input_shape))} -> {len(model.labels)} classes"
