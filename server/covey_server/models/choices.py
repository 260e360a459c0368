"""What the operator has chosen in a model's folder, by files with a version's number: `default-version` for requests
that name none, `shadow-version` for the one that computes the same images again, to be compared.

A file is followed when two looks in a row find the same. One that cannot be read changes nothing. A version that is
chosen while the server runs answers once it is served; until then, everything stays as it was.
"""

from __future__ import annotations

import logging
from collections.abc import Collection

from covey_proto.layout import DEFAULT_VERSION, SHADOW_VERSION
from covey_server.models.folder import Listing

log = logging.getLogger(__name__)

_MEANING = {
    DEFAULT_VERSION: ("requests that name no version are to get {}", "the highest version"),
    SHADOW_VERSION: ("its shadow is to be {}", "none"),
}


class Choices:
    """The chosen versions, by model. Mappings are replaced, never changed: catalogs keep them."""

    def __init__(self) -> None:
        self.default: dict[str, int] = {}
        self.shadow: dict[str, int] = {}
        self.default_in_force: dict[str, int] = {}  # the same once they are served

    def follow(self, listing: Listing, before: Listing, *, starting: bool) -> None:
        """Follows the files, as two looks found them."""
        self.default = _follow(DEFAULT_VERSION, self.default, listing, before, starting=starting)
        self.shadow = _follow(SHADOW_VERSION, self.shadow, listing, before, starting=starting)

    def want(self, name: str, version: int, held: Collection[int]) -> bool:
        """Whether a version is to be served whatever the policy says, `held` being those above it that are: it was
        chosen, or is the highest below a default version that is not served."""
        if version in (self.default.get(name), self.shadow.get(name), self.default_in_force.get(name)):
            return True
        limit = self.default_in_force.get(name, self.default.get(name))
        return limit is not None and version < limit and all(each > limit for each in held)

    def in_force(self, name: str, held: Collection[int], *, starting: bool) -> tuple[int | None, int | None]:
        """A model's default version and its shadow, `held` being the versions that are served."""
        chosen = self.default.get(name)
        if chosen is not None and chosen not in held and not starting:
            chosen = self.default_in_force.get(name)
        return chosen, self.shadow.get(name)

    def put_in_force(self, name: str, held: Collection[int], *, starting: bool) -> tuple[int | None, int | None]:
        """As `in_force`; from now on it is so."""
        chosen = self.in_force(name, held, starting=starting)
        others = {each: version for each, version in self.default_in_force.items() if each != name}
        self.default_in_force = others if chosen[0] is None else {**others, name: chosen[0]}
        return chosen


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
            log.info("model %s: %s", name, meaning.format(none if said is None else f"version {said}"))
    return chosen
