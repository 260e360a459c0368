"""Reads the description in a model file's metadata, and checks it against the graph."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covey_proto import metadata
from covey_proto.v1.classifier_pb2 import ModelInfo
from covey_server.errors import RefusedModel
from covey_server.images.input_spec import InputSpec
from covey_server.inference import answer_contract, image_contract, import_hint
from covey_server.inference.engine import Engine
from covey_server.inference.golden import GoldenSet


@dataclass(frozen=True)
class Description:
    """A model's labels, input and golden set. `info` is the message in the file, without the golden set. `thresholds`
    `[K] float32` are those of independent labels; None: one class of all is right. `known_from` see answer_contract.
    `digest`: SHA-256 of all that the file says, golden set included."""

    labels: tuple[str, ...]
    thresholds: NDArray[np.float32] | None
    input: InputSpec
    golden: GoldenSet
    info: ModelInfo
    known_from: np.float32 | None = None
    digest: str = ""


def describe(engine: Engine) -> Description:
    """The description in an engine's file. Raises RefusedModel if it is missing or contradicts the graph."""
    text = engine.metadata.get(metadata.KEY)
    if text is None:
        raise RefusedModel(
            f"no {metadata.KEY} in the file's metadata, so neither labels nor a golden set: Covey did not make it. To "
            f"serve a classifier of your own: {import_hint.command(engine.path)}"
        )
    try:
        info = metadata.from_json(text)
    except ValueError as error:
        raise RefusedModel(f"metadata {metadata.KEY}: {str(error).rstrip('.')}; {_again(engine)}") from error
    said = (info.input.height, info.input.width, info.input.channels)
    if said != engine.input_shape:
        raise RefusedModel(f"metadata says an input of {said}, the graph takes {engine.input_shape}; {_again(engine)}")
    if len(info.labels) != engine.classes:
        raise RefusedModel(
            f"metadata names {len(info.labels)} labels, the graph has {engine.classes} classes; {_again(engine)}"
        )
    if info.embedding_size != engine.embedding_size:
        raise RefusedModel(
            f"metadata says an embedding of {info.embedding_size:,} numbers, the graph has {engine.embedding_size:,} "
            f"(0 is none); {_again(engine)}"
        )
    _require_labels(info.labels)
    thresholds = answer_contract.read(info)
    known_from = answer_contract.known_from(info)
    spec = image_contract.read(info.input)
    golden = _golden_set(info, engine, independent=thresholds is not None)
    info.ClearField("golden_set")
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Description(tuple(info.labels), thresholds, spec, golden, info, known_from, digest)


def other_name(info: ModelInfo, name: str, version: int) -> str:
    """What the file calls itself ("lenet version 3") if that differs from its folders; empty if it is the same, or not
    set."""
    if info.name in ("", name) and info.version in (0, version):
        return ""
    return f"{info.name or name} version {info.version or version}"


def _again(engine: Engine) -> str:
    return f"convert the model again, or import its file: {import_hint.command(engine.path)}"


def _require_labels(labels: Sequence[str]) -> None:
    """Raises RefusedModel for labels that are empty or cannot be told apart, be it only by people, who see no
    difference in spaces or in how an accented letter is stored."""
    shown = [_as_shown(label) for label in labels]
    empty = [index for index, label in enumerate(shown) if not label]
    if empty:
        raise RefusedModel(
            f"the label of class {empty[0]} is empty, and of {len(empty):,} in all; expected a name for each class. "
            f"Convert the model again"
        )
    if len(set(shown)) < len(shown):
        label, count = Counter(shown).most_common(1)[0]
        places = [index for index, each in enumerate(shown) if each == label]
        raise RefusedModel(
            f"{count} classes have the label {label!r} (class {places[0]} and class {places[1]} first); expected a "
            f"name of its own for each class. Convert the model again"
        )


def _as_shown(label: str) -> str:
    """A label as people see it, without invisible differences."""
    seen = "".join(each if each.isprintable() else " " for each in unicodedata.normalize("NFC", label))
    return " ".join(seen.split())


def _golden_set(info: ModelInfo, engine: Engine, *, independent: bool) -> GoldenSet:
    pixels = np.frombuffer(info.golden_set.pixels, np.uint8)
    probabilities = np.array(info.golden_set.probabilities, np.float32)
    images, rest = divmod(pixels.size, int(np.prod(engine.input_shape)))
    if images == 0 or rest or probabilities.size != images * engine.classes:
        raise RefusedModel(
            f"golden set: {pixels.size:,} bytes of pixels and {probabilities.size:,} probabilities do not make "
            f"images of {engine.input_shape} with {engine.classes} probabilities each; {_again(engine)}"
        )
    if not np.isfinite(probabilities).all():
        raise RefusedModel("golden set: its probabilities hold NaN or infinity; convert the model again")
    return GoldenSet(
        pixels.reshape(images, *engine.input_shape),
        probabilities.reshape(images, engine.classes),
        info.golden_set.tolerance,
        info.golden_set.reference or GoldenSet.reference,
        independent,
    )
