"""Which model the vectors of an index are of: those of different models cannot be compared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from covey.errors import InvalidInput
from covey.results import Model
from covey.similar.storage import About


@dataclass(frozen=True)
class Made:
    """A model by which vectors are made; `size` is that of its embedding, 0 if it publishes none."""

    name: str
    version: int
    digest: str
    size: int

    @classmethod
    def by(cls, model: Model) -> Made:
        """As a server tells it."""
        return cls(model.name, model.version, model.serving.digest if model.serving else "", model.embedding_size)


def about(made: Made, folder: str) -> About:
    """What an index by this model says of itself. Raises InvalidInput where the model publishes no embedding."""
    if not made.size:
        raise InvalidInput(
            f"model {made.name!r} version {made.version} publishes no embedding; convert it with covey-export convert "
            f"--embedding, or name another one"
        )
    return About(made.name, made.version, made.digest, made.size, folder)


def require_same(folder: Path, about: About, made: Made) -> None:
    """Raises InvalidInput for any model but that of the index in `folder`. One file may be served by several names."""
    if made.digest and (made.digest, made.size) == (about.digest, about.size):
        return
    if (made.name, made.version, made.digest) == (about.model, about.version, about.digest):
        return
    what = f"{made.name} version {made.version}"
    if (made.name, made.version) == (about.model, about.version):
        what += ", but of another file than then"
    raise InvalidInput(
        f"{folder} was made by {about.model} version {about.version}, whose vectors cannot be compared with those of "
        f"others; this is {what}. Use that version, or make the index again"
    )
