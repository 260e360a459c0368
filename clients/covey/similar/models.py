"""Which model the vectors of an index are of: those of different models cannot be compared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from covey.errors import InvalidInput
from covey.results import Model
from covey.similar.storage import About


@dataclass(frozen=True)
class EmbeddingModel:
    """A model that computes vectors; `size` is that of its embedding, 0 if it publishes none."""

    name: str
    version: int
    digest: str
    size: int

    @classmethod
    def from_model(cls, model: Model) -> EmbeddingModel:
        """That of a model as a server describes it."""
        return cls(model.name, model.version, model.serving.digest if model.serving else "", model.embedding_size)


def about(model: EmbeddingModel, folder: str) -> About:
    """What an index by this model says of itself. Raises InvalidInput where the model publishes no embedding."""
    if not model.size:
        raise InvalidInput(
            f"model {model.name!r} version {model.version} publishes no embedding; convert it with covey "
            f"convert --embedding, or name another one"
        )
    return About(model.name, model.version, model.digest, model.size, folder)


def require_same(folder: Path, about: About, model: EmbeddingModel) -> None:
    """Raises InvalidInput for any model but that of the index in `folder`. One file may be served by several names."""
    if model.digest and (model.digest, model.size) == (about.digest, about.size):
        return
    if (model.name, model.version, model.digest) == (about.model, about.version, about.digest):
        return
    this_model = f"{model.name} version {model.version}"
    if (model.name, model.version) == (about.model, about.version):
        this_model += ", but of another file than then"
    raise InvalidInput(
        f"{folder} was made by {about.model} version {about.version}, whose vectors cannot be compared with those of "
        f"others; this is {this_model}. Use that version, or make the index again"
    )
