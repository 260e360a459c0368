"""The repository: keeps the catalog equal to the models folder. Loads, replaces, refuses and unloads models.

Layout: `models/NAME/VERSION/model.onnx`, VERSION a whole number. What is served follows from the folder's content, not
from its history. Beyond that:

- A change is followed when two looks in a row find the same: a file that is still being copied is not loaded, and one
  that is being replaced is not unloaded. At the start everything is loaded at once.
- Requests that name no version get the highest one, or that of the file `models/NAME/default-version`, which is served
  whatever the policy says.
- A new version is loaded beside the old ones; then one assignment swaps the catalog. A bad version changes nothing, and
  is tried again when its file changes (or at every look, if it could not be read).
- If the folder cannot be listed, or holds no model file any more, its disk is probably gone: everything is kept.
- A model that was unloaded by a call stays out, whatever its folder holds, until a call loads it or its folder is gone.
- No reference to a model is kept after it left the catalog: the last request that holds it frees it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from covey_proto import layout
from covey_proto.wording import listed
from covey_server.errors import LoadFailed, NoModels, UnknownModel
from covey_server.inference.served_model import ServedModel
from covey_server.models import choice_files
from covey_server.models.catalog import Catalog, RefusedVersion
from covey_server.models.choices import Choices, Chosen
from covey_server.models.folder import EMPTY, Listing, scan
from covey_server.models.loading import Held, Loader, Refused, RepositoryObserver
from covey_server.models.version_policy import VersionPolicy

log = logging.getLogger(__name__)

T = TypeVar("T")

_ADVICE = (
    "Make a model with `covey import FILE` or `covey export all lenet`, or name another folder with --models. "
    "For a first look at a file: covey serve FILE"
)
_MAX_TOLD = 20  # log lines at one look about things in the folder that are no models
_UNLOADED = "unloaded by a call; it stays out until a call loads it, or the server is started anew"


class Repository:
    """The models of one folder. Call `load` once, then `refresh` at any times."""

    def __init__(
        self,
        folder: Path,
        load_model: Callable[[str, int, Path], ServedModel],
        policy: VersionPolicy,
        observer: RepositoryObserver,
        max_accuracy_loss: float | None = None,
    ) -> None:
        """`load_model(name, version, path)` loads, checks and warms up a model. It raises RefusedModel or EngineFailed,
        with an OSError as its cause if the file could not be read. `max_accuracy_loss` as in Choices.
        """
        self.folder = folder
        self._policy = policy
        self._observer = observer
        self._loader = Loader(folder, load_model, observer)
        self.catalog = Catalog({})  # what is served now; callers must not keep it, since it holds its models
        self._held: dict[str, dict[int, Held]] = {}
        self._refused: dict[str, dict[int, Refused]] = {}
        self._unloaded: set[str] = set()  # by name, to stay out
        self._choices = Choices(max_accuracy_loss)
        self._chosen: dict[str, Chosen] = {}  # by model, what is published
        self._asked_default = ""
        self._listing = EMPTY  # of the last look that found something
        self._starting = True
        self._gone = ""  # why the folder counts as gone; "": it does not
        self._refreshing = threading.Lock()

    def load(self, default_model: str = "") -> None:
        """Loads what the policy wants. Brings back a canary that a killed process was deciding about. Raises NoModels
        if no model, or not the default one, can be served, and the StartupErrors of `load_model`."""
        choice_files.put_back(self.folder)
        try:
            listing = scan(self.folder)
        except OSError as error:
            raise NoModels(
                f"the models folder {self.folder.resolve()} cannot be read: {error.strerror or error}\n{_ADVICE}"
            ) from error
        self._asked_default = default_model
        self._follow(listing)
        self._starting = False
        if not self.catalog.served:
            reasons = "".join(f"\n  {each.name}/{each.version}: {each.reason}" for each in self.catalog.refusals)
            nothing = f": it holds no NAME/VERSION/{layout.FILE_NAME}, VERSION a whole number"
            raise NoModels(
                f"no model can be served from {self.folder.resolve()}{f':{reasons}' if reasons else nothing}\n{_ADVICE}"
            )
        if default_model and default_model not in self.catalog.names:
            raise NoModels(
                f"--default-model {default_model!r} is not served; these are: {', '.join(self.catalog.names)}"
            )

    @property
    def held_back(self) -> int:
        """How many models' highest versions are not the default one, since they are less accurate."""
        return len(self._choices.held_back)

    def folder_of(self, name: str, version: int) -> Path:
        """The folder of a version that is served, or was found and refused; version 0 as requests mean it. Raises
        UnknownModel."""
        catalog = self.catalog
        refusal = catalog.find_refusal(name, version)
        found = refusal if refusal is not None and refusal.version else catalog.find(name, version)
        return self.folder / found.name / str(found.version)

    def refresh(self) -> None:
        """Looks at the folder once and follows changes. Returns when new models are served."""
        with self._refreshing:
            self._loader.report_freed()
            try:
                listing = scan(self.folder)
            except OSError as error:
                self._keep_all(f"cannot be read: {error.strerror or error}")
                return
            if self.catalog.served and listing.is_bare:
                self._keep_all(f"holds no NAME/VERSION/{layout.FILE_NAME} any more")
                return
            if self._gone:
                log.warning("the models folder %s is back", self.folder)
                self._gone = ""
            self._follow(listing)
            self._loader.report_freed()

    def load_model(self, name: str) -> None:
        """Loads a model from its folder now, even if it was unloaded or refused before. Returns when it is served.

        Raises UnknownModel if the folder holds no model of this name, LoadFailed if it, or a version of it, is refused;
        then what was served before is still served.
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
            # Without earlier refusals all versions are tried; the listing stands for the look before, too.
            held, refused = self._settle_model(name, listing, listing, self._held.get(name, {}), {})
            if held:  # else it stays out
                self._unloaded.discard(name)
            self._replace(name, held, refused)
        if refused:
            reasons = "; ".join(f"version {number}: {each.refusal.reason}" for number, each in refused.items())
            served = ", ".join(map(str, held)) or "none"
            raise LoadFailed(f"failed to load {name!r}: {reasons} (versions served: {served})")

    def unload_model(self, name: str) -> None:
        """Takes a model out of service until `load_model`; requests that hold it are still answered. Does nothing if it
        is out already. Raises UnknownModel if there is none of this name."""
        with self._refreshing:
            self._loader.report_freed()
            versions = {*self._held.get(name, ()), *self._refused.get(name, ())}
            if not versions:
                raise UnknownModel(f"failed to unload {name!r}: there is no model of this name")
            self._unloaded.add(name)
            out = {
                version: Refused(RefusedVersion(name, version, _UNLOADED, by_call=True), None) for version in versions
            }
            self._replace(name, {}, out)
            self._loader.report_freed()

    def _keep_all(self, reason: str) -> None:
        if reason != self._gone:
            log.error(
                "the models folder %s %s, as when a disk is unmounted: what is loaded stays served (to serve nothing, "
                "stop the server)", self.folder, reason,
            )  # fmt: skip
        self._gone = reason

    def _follow(self, listing: Listing) -> None:
        """Makes the catalog equal to a listing."""
        before, self._listing = self._listing, listing
        passed_over = sorted(listing.passed_over - before.passed_over)
        for sentence in passed_over[:_MAX_TOLD]:
            log.warning("%s", sentence)
        if len(passed_over) > _MAX_TOLD:
            log.warning("%d more are passed over in %s", len(passed_over) - _MAX_TOLD, self.folder)
        if not listing.is_bare:  # a model whose folder is gone need not stay out any more
            self._unloaded &= listing.names | before.names
        names = {*listing.names, *self._held, *self._refused} - self._unloaded
        self._choices.follow(listing, before, starting=self._starting)
        # Models that are gone come last, so that a renamed model is served by its new name first.
        for name in sorted(names, key=lambda name: (not listing.has_file(name), name)):
            held_before, refused_before = self._held.get(name, {}), self._refused.get(name, {})
            held, refused = self._settle_model(name, listing, before, held_before, refused_before)
            chosen = self._choices.in_force(name, held, starting=self._starting)
            if (held, refused, chosen) != (held_before, refused_before, self._chosen.get(name)):
                self._replace(name, held, refused)
        if self._starting:
            self._publish()
        self._choices.report_missing(self.catalog)

    def _replace(self, name: str, held: dict[int, Held], refused: dict[int, Refused]) -> None:
        """Sets what is held and refused of one model."""
        canary = self._choices.canaries.get(name)
        if canary is not None and self._held.get(name, {}).get(canary.version) != held.get(canary.version):
            self._choices.begin_anew(canary)  # its file is another one
        _put(self._held, name, held)
        _put(self._refused, name, refused)
        self._chosen[name] = self._choices.put_in_force(name, held, starting=self._starting)
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
        """Decides which versions of one model to hold, and which to refuse."""
        if reason := listing.unreadable.get(name):
            whole = self._loader.refuse(name, 0, reason, None, refused_before.get(0))
            return held_before, {**refused_before, 0: whole}
        held: dict[int, Held] = {}
        refused: dict[int, Refused] = {}
        for version in sorted({*listing.versions.get(name, ()), *held_before}, reverse=True):
            if self._policy.is_met(len(held)) and not self._choices.want(name, version, held):
                continue
            look = listing.look(name, version)
            kept, refusal = held_before.get(version), refused_before.get(version)
            if self._starting or look == before.look(name, version):
                kept, refusal = self._loader.settle(
                    name, version, look, kept, refusal, self.catalog.default_version(name), self._starting
                )
            if kept is not None:
                held[version] = kept
            if refusal is not None:
                refused[version] = refusal
        return held, refused

    def _publish(self) -> None:
        """Swaps the catalog, and tells what left it."""
        before = self.catalog
        models = {name: {number: each.model for number, each in held.items()} for name, held in self._held.items()}
        refusals = [each.refusal for refused in self._refused.values() for each in refused.values()]
        choices = self._choices
        self.catalog = Catalog(
            models, self._choose_default(before), refusals, choices.default_in_force, choices.shadow, choices.canaries
        )
        for name, version in sorted(before.keys - self.catalog.keys):
            log.info("model %s version %d is unloaded; requests that hold it are answered", name, version)
            self._observer.model_unloaded(name, version)

    def _choose_default(self, before: Catalog) -> str:
        """The model for requests that name none: the one that was asked for, else the only one, else the same as
        before."""
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
                "more than one model is served now: requests that name none get %s until the server is started anew, "
                "and fail from then on. `--default-model %s` (COVEY_DEFAULT_MODEL) lets them go on getting it",
                default, default,
            )  # fmt: skip
        elif self._starting and len(names) > 1:
            log.info(
                "requests that name no model fail, since there are several: %s. `--default-model NAME` names the one "
                "that they get", listed(sorted(names)),
            )  # fmt: skip
        return default


def _put(models: dict[str, dict[int, T]], name: str, versions: dict[int, T]) -> None:
    if versions:
        models[name] = versions
    else:
        models.pop(name, None)
