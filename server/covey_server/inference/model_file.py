"""What a model's file says of itself, read from its metadata and held against what its graph really is."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from covey_proto import colours, metadata, resize
from covey_proto.resize import Resize
from covey_proto.v1.classifier_pb2 import ModelInfo
from covey_server.errors import RefusedModel
from covey_server.images.pixels import InputSpec
from covey_server.inference.golden import GoldenSet


class Described(Protocol):
    """What `describe` needs of an engine."""

    @property
    def metadata(self) -> Mapping[str, str]: ...
    @property
    def input_shape(self) -> tuple[int, int, int]: ...
    @property
    def classes(self) -> int: ...


@dataclass(frozen=True)
class Description:
    """A model's labels, input and golden set; `info` is the file's own message without the golden set."""

    labels: tuple[str, ...]
    input: InputSpec
    golden: GoldenSet
    info: ModelInfo


def describe(engine: Described) -> Description:
    """The description in the engine's file. Raises RefusedModel where it is missing or contradicts the graph."""
    text = engine.metadata.get(metadata.KEY)
    if text is None:
        raise RefusedModel(
            f"no {metadata.KEY} in the file's metadata, so neither labels nor a golden set; convert with covey-export"
        )
    try:
        info = metadata.from_json(text)
    except ValueError as error:
        raise RefusedModel(f"metadata {metadata.KEY}: {error}") from error
    height, width, channels = engine.input_shape
    said = (info.input.height, info.input.width, info.input.channels)
    if said != engine.input_shape:
        raise RefusedModel(f"metadata says an input of {said}, the graph takes {engine.input_shape}")
    if len(info.labels) != engine.classes:
        raise RefusedModel(f"metadata names {len(info.labels)} labels, the graph has {engine.classes} classes")
    _require_labels(info.labels)
    policy = resize.from_message(info.input.resize)
    if policy is Resize.UNKNOWN:
        known = ", ".join(str(resize.to_message(each)) for each in resize.KNOWN)
        raise RefusedModel(
            f"resize policy {info.input.resize} is not known here, only {known}; "
            f"the model needs a newer server, or was not made by covey-export"
        )
    crop = info.input.crop or 1.0  # 0: not said
    if not 0 < crop <= 1:  # NaN is refused too
        raise RefusedModel(
            f"a crop of {crop:g} in metadata {metadata.KEY}; expected a share above 0, to 1. Convert the model again"
        )
    try:
        background = colours.parse(info.input.background) if info.input.background else None
    except ValueError as error:
        raise RefusedModel(f"background in metadata {metadata.KEY}: {error}; convert the model again") from error
    golden = _golden_set(info, engine)
    info.ClearField("golden_set")
    spec = InputSpec(height, width, channels, policy, crop, background)
    return Description(tuple(info.labels), spec, golden, info)


def other_name(info: ModelInfo, name: str, version: int) -> str:
    """What the file calls itself ("lenet version 3") where its folders say otherwise; empty where they agree, or where
    it does not say."""
    if info.name in ("", name) and info.version in (0, version):
        return ""
    return f"{info.name or name} version {info.version or version}"


def _require_labels(labels: Sequence[str]) -> None:
    """Raises RefusedModel for labels that would leave it open which class an answer means: to people, who see no
    difference in spaces and in how an accented letter is stored, or to programs."""
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
    """A label as people tell it from others: without what is not seen."""
    seen = "".join(each if each.isprintable() else " " for each in unicodedata.normalize("NFC", label))
    return " ".join(seen.split())


def _golden_set(info: ModelInfo, engine: Described) -> GoldenSet:
    pixels = np.frombuffer(info.golden_set.pixels, np.uint8)
    probabilities = np.array(info.golden_set.probabilities, np.float32)
    images, rest = divmod(pixels.size, int(np.prod(engine.input_shape)))
    if images == 0 or rest or probabilities.size != images * engine.classes:
        raise RefusedModel(
            f"golden set: {pixels.size:,} bytes of pixels and {probabilities.size:,} probabilities do not make "
            f"images of {engine.input_shape} with {engine.classes} probabilities each; convert the model again"
        )
    if not np.isfinite(probabilities).all():
        raise RefusedModel("golden set: its probabilities hold NaN or infinity; convert the model again")
    return GoldenSet(
        pixels.reshape(images, *engine.input_shape),
        probabilities.reshape(images, engine.classes),
        info.golden_set.tolerance,
        info.golden_set.reference or GoldenSet.reference,
    )
