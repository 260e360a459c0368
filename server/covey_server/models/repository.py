"""Keeps the catalog equal to what lies in the models folder: loads, replaces, refuses and unloads.

Layout: `models/NAME/VERSION/model.onnx`, VERSION a whole number. What is served follows from the folder's content, not
from its history. The rules on top of that:

- A look that differs from the one before is acted upon when the next look finds the same: a file that is still being
  copied is not loaded, one that is being replaced is not unloaded. At the start everything is loaded at once.
- A new version is loaded beside the old ones; one assignment then swaps the catalog. A bad one changes nothing, and is
  tried again when its file changes (at every look where it could not be read).
- A folder that cannot be listed, or holds no model file any more, is a disk that went away: all is kept.
- A model that was unloaded by name stays out, whatever its folder holds, until it is loaded by name or the folder is
  gone.
- No reference to a model is kept once it left the catalog: the last request that holds it frees it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from covey_proto import layout
from covey_server.errors import LoadFailed, NoModels, UnknownModel
from covey_server.inference.served_model import ServedModel
from covey_server.models.catalog import Catalog, RefusedVersion
from covey_server.models.folder import EMPTY, Listing, scan
from covey_server.models.loading import Held, Loader, Refused, RepositoryObserver
from covey_server.models.version_policy import VersionPolicy

log = logging.getLogger(__name__)

T = TypeVar("T")

_MAX_TOLD = 20  # of what lies in the folder and is no model, at one look: the log is for people
_UNLOADED = "unloaded by a call; it stays out until a call loads it, or the server is started anew"


class Repository:
    """The models of one folder. `load` once, then `refresh` as often as one likes; `find` at any time."""

    def __init__(
        self,
        folder: Path,
        load_model: Callable[[str, int, Path], ServedModel],
        policy: VersionPolicy,
        observer: RepositoryObserver,
    ) -> None:
        """`load_model(name, version, path)` builds, checks and warms a model. It raises RefusedModel or EngineFailed,
        caused by an OSError where the file could not be read. Nobody else may keep the model when requests are done.
        """
        self.folder = folder
        self._policy = policy
        self._observer = observer
        self._loader = Loader(folder, load_model, observer)
        self._catalog: Catalog = Catalog({})
        self._held: dict[str, dict[int, Held]] = {}
        self._refused: dict[str, dict[int, Refused]] = {}
        self._unloaded: set[str] = set()  # by name, to stay out
        self._asked_default = ""
        self._listing = EMPTY  # of the last look that found something
        self._starting = True
        self._gone = ""  # why the folder counts as gone; "": it does not
        self._refreshing = threading.Lock()

    def load(self, default_model: str = "") -> None:
        """Loads what the policy wants. Raises NoModels where nothing can be served or the default one cannot, and
        StartupErrors of `load_model`."""
        try:
            listing = scan(self.folder)
        except OSError as error:
            raise NoModels(
                f"the models folder {self.folder.resolve()} cannot be read: {error.strerror or error}"
            ) from error
        self._asked_default = default_model
        self._follow(listing)
        self._starting = False
        if not self.served:
            reasons = "".join(f"\n  {each.name}/{each.version}: {each.reason}" for each in self.refusals)
            nothing = f": it holds no NAME/VERSION/{layout.FILE_NAME}, VERSION a whole number"
            raise NoModels(
                f"no model can be served from {self.folder.resolve()}{f':{reasons}' if reasons else nothing}"
                f"\nMake one with `covey-export all lenet`, or name another folder with --models"
            )
        if default_model and default_model not in self._catalog.names:
            raise NoModels(
                f"--default-model {default_model!r} is not served; these are: {', '.join(self._catalog.names)}"
            )

    def refresh(self) -> None:
        """Looks at the folder once and follows what changed. Returns when the new models are served."""
        with self._refreshing:
            self._loader.report_freed()
            try:
                listing = scan(self.folder)
            except OSError as error:
                self._keep_all(f"cannot be read: {error.strerror or error}")
                return
            if self.served and listing.is_bare:
                self._keep_all(f"holds no NAME/VERSION/{layout.FILE_NAME} any more")
                return
            if self._gone:
                log.warning("the models folder %s is back", self.folder)
                self._gone = ""
            self._follow(listing)
            self._loader.report_freed()

    def load_model(self, name: str) -> None:
        """Looks at the folder of one model now and loads what is there, one that was unloaded or refused included.
        Returns when it is served.

        Raises UnknownModel where the folder holds none of this name, LoadFailed where it, or a version of it, is
        refused: what was served before still is.
        """
        with self._refreshing:
            self._loader.report_freed()
            try:
                listing = scan(self.folder)
            except OSError as error:
                raise LoadFailed(
                    f"failed to load {name!r}: the models folder cannot be read: {error.strerror or error}"
                ) from error
            if name not in listing.versions and name not in listing.unreadable:
                raise UnknownModel(f"failed to load {name!r}: the models folder holds no model of this name")
            if name not in listing.unreadable and not listing.has_file(name):
                raise LoadFailed(f"failed to load {name!r}: its folder holds no VERSION/{layout.FILE_NAME}")
            # With nothing known to be refused, what is refused is tried again; the listing is its own look before.
            held, refused = self._settle_model(name, listing, listing, self._held.get(name, {}), {})
            if held:  # one of which nothing can be served stays out
                self._unloaded.discard(name)
            self._replace(name, held, refused)
        if refused:
            reasons = "; ".join(f"version {number}: {each.refusal.reason}" for number, each in refused.items())
            served = ", ".join(map(str, held)) or "none"
            raise LoadFailed(f"failed to load {name!r}: {reasons} (versions served: {served})")

    def unload_model(self, name: str) -> None:
        """Takes a model out of service, to stay out until `load_model`; requests that hold it are answered. One that
        is out already stays so. Raises UnknownModel where there is none of this name."""
        with self._refreshing:
            self._loader.report_freed()
            versions = {*self._held.get(name, ()), *self._refused.get(name, ())}
            if not versions:
                raise UnknownModel(f"failed to unload {name!r}: there is no model of this name")
            self._unloaded.add(name)
            out = {version: Refused(RefusedVersion(name, version, _UNLOADED), None) for version in versions}
            self._replace(name, {}, out)
            self._loader.report_freed()

    def find(self, name: str, version: int) -> ServedModel:
        """The model a request means: "" the default one, version 0 the highest served. Raises UnknownModel."""
        return self._catalog.find(name, version)

    def find_refusal(self, name: str, version: int) -> RefusedVersion | None:
        """The refusal of this very version, for version 0 of the highest; None where one that is meant is served."""
        return self._catalog.find_refusal(name, version)

    @property
    def catalog(self) -> Catalog:
        """What is served now. Not to be kept: it holds its models."""
        return self._catalog

    @property
    def served(self) -> tuple[ServedModel, ...]:
        """All models served, by name, then the highest version first."""
        return self._catalog.served

    @property
    def refusals(self) -> tuple[RefusedVersion, ...]:
        """All versions that were tried and are not served as they lie there."""
        return self._catalog.refusals

    def is_default(self, model: ServedModel) -> bool:
        """Whether requests that name no model get this one."""
        return self._catalog.is_default(model)

    def _keep_all(self, reason: str) -> None:
        if reason != self._gone:
            log.error(
                "the models folder %s %s, as when a disk is unmounted: what is loaded stays served (to serve nothing, "
                "stop the server)", self.folder, reason,
            )  # fmt: skip
        self._gone = reason

    def _follow(self, listing: Listing) -> None:
        """Brings the catalog to what the listing shows."""
        before, self._listing = self._listing, listing
        passed_over = sorted(listing.passed_over - before.passed_over)
        for sentence in passed_over[:_MAX_TOLD]:
            log.warning("%s", sentence)
        if len(passed_over) > _MAX_TOLD:
            log.warning("%d more are passed over in %s", len(passed_over) - _MAX_TOLD, self.folder)
        if not listing.is_bare:  # of a model whose folder is gone nothing has to stay out
            self._unloaded &= listing.names | before.names
        names = {*listing.names, *self._held, *self._refused} - self._unloaded
        # Models that are gone come last, so that a renamed one is served under its new name first.
        for name in sorted(names, key=lambda name: (not listing.has_file(name), name)):
            held_before, refused_before = self._held.get(name, {}), self._refused.get(name, {})
            held, refused = self._settle_model(name, listing, before, held_before, refused_before)
            if (held, refused) != (held_before, refused_before):
                self._replace(name, held, refused)
        if self._starting:
            self._publish()

    def _replace(self, name: str, held: dict[int, Held], refused: dict[int, Refused]) -> None:
        """What is held and refused of one model from now on."""
        _put(self._held, name, held)
        _put(self._refused, name, refused)
        if not self._starting:
            self._publish()

    def _settle_model(
        self,
        name: str,
        listing: Listing,
        before: Listing,
        held_before: dict[int, Held],
        refused_before: dict[int, Refused],
    ) -> tuple[dict[int, Held], dict[int, Refused]]:
        """Which versions of one model to hold, and which to refuse."""
        if reason := listing.unreadable.get(name):
            whole = self._loader.refuse(name, 0, reason, None, refused_before.get(0))
            return held_before, {**refused_before, 0: whole}
        held: dict[int, Held] = {}
        refused: dict[int, Refused] = {}
        for version in sorted({*listing.versions.get(name, ()), *held_before}, reverse=True):
            if self._policy.is_met(len(held)):
                break
            look = listing.look(name, version)
            kept, refusal = held_before.get(version), refused_before.get(version)
            if self._starting or look == before.look(name, version):
                kept, refusal = self._loader.settle(
                    name, version, look, kept, refusal, self._catalog.highest(name), self._starting
                )
            if kept is not None:
                held[version] = kept
            if refusal is not None:
                refused[version] = refusal
        return held, refused

    def _publish(self) -> None:
        """Swaps the catalog, and tells of what left it."""
        before = self._catalog
        models = {name: {number: each.model for number, each in held.items()} for name, held in self._held.items()}
        refusals = [each.refusal for refused in self._refused.values() for each in refused.values()]
        self._catalog = Catalog(models, self._choose_default(before), refusals)
        for name, version in sorted(before.keys - self._catalog.keys):
            log.info("model %s version %d is unloaded; requests that hold it are answered", name, version)
            self._observer.model_unloaded(name, version)

    def _choose_default(self, before: Catalog) -> str:
        """The name that requests get which name none: as asked for, or the only one, or the one that was it before."""
        names = self._held.keys()
        if self._asked_default:
            if self._asked_default in before.names and self._asked_default not in names:
                log.error(
                    "the default model %s is not there any more: requests that name no model fail", before.default
                )
            return self._asked_default
        if len(names) == 1:
            (default,) = names
        else:
            default = before.default if before.default in names else ""
        if default != before.default and not self._starting:
            log.warning(
                "requests that name no model %s", f"get {default} from now on" if default else "fail from now on"
            )
        elif default and len(before.names) == 1 < len(names):
            log.warning(
                "more than one model is served now: requests that name none still get %s. Start the server with "
                "--default-model to make that last", default,
            )  # fmt: skip
        return default


def _put(models: dict[str, dict[int, T]], name: str, versions: dict[int, T]) -> None:
    if versions:
        models[name] = versions
    else:
        models.pop(name, None)
