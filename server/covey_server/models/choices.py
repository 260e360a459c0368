"""What the operator has chosen in a model's folder, by files with a version's number: `default-version` for requests
that name none, `shadow-version` for the one that computes the same images again, to be compared.

A file is followed when two looks in a row find the same. One that cannot be read changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Set

from covey_proto.layout import DEFAULT_VERSION, SHADOW_VERSION
from covey_server.models.folder import Listing

log = logging.getLogger(__name__)

_MEANING = {
    DEFAULT_VERSION: ("requests that name no version are to get {}", "the highest version"),
    SHADOW_VERSION: ("its shadow is to be {}", "none"),
}


class Choices:
    """The chosen versions, by model. The mappings are replaced, never changed: catalogs keep them."""

    def __init__(self) -> None:
        self.default: dict[str, int] = {}
        self.shadow: dict[str, int] = {}

    def of(self, name: str) -> Set[int]:
        """The versions of a model that are chosen for something."""
        return {each[name] for each in (self.default, self.shadow) if name in each}

    def follow(self, listing: Listing, before: Listing, *, starting: bool) -> bool:
        """Follows the files, as two looks found them. Returns whether something has changed."""
        known = self.default, self.shadow
        self.default = _follow(DEFAULT_VERSION, self.default, listing, before, starting=starting)
        self.shadow = _follow(SHADOW_VERSION, self.shadow, listing, before, starting=starting)
        return known != (self.default, self.shadow)


def _follow(file: str, known: dict[str, int], listing: Listing, before: Listing, *, starting: bool) -> dict[str, int]:
    meaning, none = _MEANING[file]
    chosen: dict[str, int] = {}
    for name in listing.names:
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
