"""What is chosen in a model's folder, by files with a version's number: `default-version` for requests that name none,
`shadow-version` for the one that computes the same images again, to be compared, `canary-version` for the one that a
share of those who name none gets.

A file is followed when two looks in a row find the same. One that cannot be read changes nothing. A version that is
chosen while the server runs answers once it is served; until then, everything stays as it was.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import NamedTuple

from covey_proto.layout import CANARY_VERSION, DEFAULT_VERSION, SHADOW_VERSION
from covey_server.models import accuracy
from covey_server.models.accuracy import HeldBack
from covey_server.models.canary import Canary, Outcome
from covey_server.models.catalog import Catalog
from covey_server.models.folder import Listing
from covey_server.models.loading import Held

log = logging.getLogger(__name__)

_MEANING = {
    DEFAULT_VERSION: ("requests that name no version are to get {}", "the highest version"),
    SHADOW_VERSION: ("its shadow is to be {}", "none"),
    CANARY_VERSION: ("its canary is to be {}", "none"),
}


class Chosen(NamedTuple):
    """What is chosen of one model: versions, and what was decided about its canary."""

    default: int | None
    shadow: int | None
    canary: int | None
    outcome: Outcome


class Choices:
    """The chosen versions, by model. Mappings are replaced, never changed: catalogs keep them."""

    def __init__(self, max_accuracy_loss: float | None = None) -> None:
        """`max_accuracy_loss`: how much less accurate than the default version a higher one may be to take its place
        without being chosen; None: no matter how much."""
        self._max_loss = max_accuracy_loss
        self.held_back: dict[str, HeldBack] = {}  # by model
        self.default: dict[str, int] = {}
        self.shadow: dict[str, int] = {}
        self.canaries: dict[str, Canary] = {}
        self.default_in_force: dict[str, int] = {}  # the same once they are served
        self._missing: set[tuple[str, str, int]] = set()  # by model and file: versions that are not served

    def follow(self, listing: Listing, before: Listing, *, starting: bool) -> None:
        """Follows the files, as two looks found them."""
        self.default = _follow(DEFAULT_VERSION, self.default, listing, before, starting=starting)
        self.shadow = _follow(SHADOW_VERSION, self.shadow, listing, before, starting=starting)
        known = self._canary_versions()
        said = _follow(CANARY_VERSION, known, listing, before, starting=starting)
        self.canaries = {
            name: self.canaries[name] if known.get(name) == version else Canary(name, version)
            for name, version in said.items()
        }

    def begin_anew(self, canary: Canary) -> None:
        """Takes its callers from a canary that was not decided about: another one of its version is checked first."""
        if not canary.outcome:
            self.canaries = {**self.canaries, canary.name: Canary(canary.name, canary.version)}

    def want(self, name: str, version: int, held: Collection[int]) -> bool:
        """Whether a version is to be served whatever the policy says, `held` being those above it that are: it was
        chosen, or is the highest below a default version that is not served, or the highest beside the canary."""
        canary = self.canaries.get(name)
        if version in (self.default.get(name), self.shadow.get(name), self.default_in_force.get(name)):
            return True
        if canary is not None and (version == canary.version or {*held} == {canary.version}):
            return True
        limit = self.default_in_force.get(name, self.default.get(name))
        if limit is None and self._max_loss is not None and len(held) == 1:  # at first there is another to compare with
            return True
        return limit is not None and version < limit and all(each > limit for each in held)

    def in_force(self, name: str, held: Mapping[int, Held], *, starting: bool) -> Chosen:
        """What is chosen of a model, `held` being the versions that are served."""
        default, canary = self.default.get(name), self.canaries.get(name)
        if canary is not None and canary.version in held:
            if canary.outcome == "promoted":
                default = canary.version
            elif default is None:  # then the highest, which the canary is not
                default = max((each for each in held if each != canary.version), default=None)
        if default is None and (found := self._most_accurate(name, held)) is not None:
            default, _ = found
        if default is not None and default not in held and not starting:
            default = self.default_in_force.get(name)
        shadow = self.shadow.get(name)
        return (
            Chosen(default, shadow, None, "")
            if canary is None
            else Chosen(default, shadow, canary.version, canary.outcome)
        )

    def put_in_force(self, name: str, held: Mapping[int, Held], *, starting: bool) -> Chosen:
        """As `in_force`; from now on it is so."""
        chosen = self.in_force(name, held, starting=starting)
        self._hold_back(name, held, chosen)
        others = {each: version for each, version in self.default_in_force.items() if each != name}
        self.default_in_force = others if chosen.default is None else {**others, name: chosen.default}
        return chosen

    def report_missing(self, catalog: Catalog) -> None:
        """Tells, once, of versions that are chosen and not served."""
        chosen = {DEFAULT_VERSION: self.default, SHADOW_VERSION: self.shadow, CANARY_VERSION: self._canary_versions()}
        served = catalog.keys
        missing = {
            (name, file, version)
            for file, versions in chosen.items()
            for name, version in versions.items()
            if (name, version) not in served
        }
        new, self._missing = sorted(missing - self._missing), missing
        for name, file, version in new:
            instead = catalog.default_version(name)
            effect = {
                DEFAULT_VERSION: "requests that name no version "
                + ("fail" if instead is None else f"get version {instead.version}"),
                SHADOW_VERSION: "nothing runs in the shadow",
                CANARY_VERSION: "no caller gets a canary",
            }
            log.warning(
                "model %s: version %d, which %s names, is not served, or not yet; %s", name, version, file, effect[file]
            )

    def _canary_versions(self) -> dict[str, int]:
        return {name: canary.version for name, canary in self.canaries.items()}

    def _most_accurate(self, name: str, held: Mapping[int, Held]) -> tuple[int, HeldBack | None] | None:
        """As `accuracy.choose`; None where no loss is too large, or nothing is served."""
        if self._max_loss is None or not held:
            return None
        said = {version: each.model.info.training.test_accuracy for version, each in held.items()}
        return accuracy.choose(said, self.default_in_force.get(name), self._max_loss)

    def _hold_back(self, name: str, held: Mapping[int, Held], chosen: Chosen) -> None:
        """Tells, once, which version does not become the default one."""
        found = None
        if name not in self.default and chosen.canary is None:
            _, found = self._most_accurate(name, held) or (0, None)
        if found is not None and found != self.held_back.get(name):
            log.warning(
                "model %s: version %d does not become the default one: its file says an accuracy of %.2f%% on its test "
                "images, that of version %d %.2f%%, and --max-accuracy-loss is %g. It is served by its number; write "
                "it into default-version if it is to be the default one all the same",
                name, found.version, found.accuracy * 100, found.stays, found.stays_accuracy * 100, self._max_loss,
            )  # fmt: skip
        others = {each: held_back for each, held_back in self.held_back.items() if each != name}
        self.held_back = others if found is None else {**others, name: found}


def _follow(file: str, known: dict[str, int], listing: Listing, before: Listing, *, starting: bool) -> dict[str, int]:
    meaning, none = _MEANING[file]
    chosen: dict[str, int] = {}
    for name in listing.names | before.names:
        said, seen = listing.choices.get((name, file)), before.choices.get((name, file))
        was = known.get(name)
        if isinstance(said, str):
            if said != seen:
                log.error("%s; it stays as it was: %s", said, none if was is None else f"version {was}")
            said = was
        elif name in listing.unreadable or not (starting or said == seen):
            said = was
        if said is not None:
            chosen[name] = said
        if said != was:
            what = meaning.format(none if said is None else f"version {said}")
            is_there = said is None or said in listing.versions.get(name, {})
            log.info("model %s: %s%s", name, what, "" if is_there else ", which is not in the folder yet")
    return chosen
