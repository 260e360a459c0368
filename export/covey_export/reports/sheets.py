"""Sheets of test images: samples of each class, and mistakes, above all those of which the model was most certain.

Each image is a PNG inside the page; the words under it are the page's own, in whatever script the classes have.
"""

from __future__ import annotations

import base64
import io
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from covey_export.datasets import Dataset
from covey_export.datasets.dataset import Images, Labels
from covey_export.reports.drawing.tiles import brighten
from covey_reports.language import say

MAX_SAMPLES = 40
MAX_FIRST, MAX_MISTAKES = 40, 300  # the most confident mistakes; and those together with some of each pair of classes
MAX_MORE_BYTES = 400_000  # of the images beyond the first ones, as they stand in the page
BATCH_TILES = 9

_MAX_SIDE = 112  # pixels; larger images are made smaller
_SMOOTH_FROM = 64  # pixels from which a browser may smooth


@dataclass(frozen=True, slots=True)
class Tile:
    """An image of a sheet: `alt` describes it where it cannot be seen, `title` and `text` stand below it. `facts` are
    what scripts find and sort it by, see `_facts`."""

    data_uri: str
    width: int
    height: int
    alt: str
    title: str
    text: str = ""
    facts: Mapping[str, str | int] = field(default_factory=dict)

    @property
    def is_smooth(self) -> bool:
        """Whether the browser should smooth the image as it enlarges it; small ones are for counting pixels."""
        return max(self.width, self.height) > _SMOOTH_FROM


def samples(dataset: Dataset, probabilities: NDArray[np.float32]) -> list[Tile]:
    """Test images of each class in turn, with their class, and the one that they were taken for."""
    found = []
    for place in choose_samples(dataset):
        label, guess = (
            dataset.labels[int(dataset.test_labels[place])],
            dataset.labels[int(probabilities[place].argmax())],
        )
        taken = "" if guess == label else say("taken for {guess}", guess=guess)
        facts = _facts(dataset, probabilities, place)
        alt = say("test image {place}, of {label}", place=place, label=label)
        found.append(_tile(dataset.test_images[place], alt, label, taken, facts))
    return found


def batch(dataset: Dataset) -> list[Tile]:
    """The first BATCH_TILES training images, with their class and its number."""
    return [
        _tile(
            image,
            say("a training image of {label}", label=dataset.labels[label]),
            dataset.labels[label],
            say("label {number}", number=label),
        )
        for image, label in zip(
            dataset.train_images[:BATCH_TILES], dataset.train_labels[:BATCH_TILES].tolist(), strict=True
        )
    ]


def choose_samples(dataset: Dataset) -> list[int]:
    """Places of MAX_SAMPLES test images at most: the first of each class, then the second, sorted by class."""
    by_class = [np.flatnonzero(dataset.test_labels == label).tolist() for label in np.unique(dataset.test_labels)]
    if len(by_class) > MAX_SAMPLES:  # classes spread over all, not the first by name
        by_class = [by_class[place] for place in np.linspace(0, len(by_class) - 1, MAX_SAMPLES).round().astype(int)]
    each = max(1, MAX_SAMPLES // len(by_class))
    return [place for places in by_class for place in places[:each]]


def mistakes(dataset: Dataset, probabilities: NDArray[np.float32]) -> list[Tile]:
    """Wrongly classified test images, the most confident first: what was predicted, what they are, and how probable the
    model held each. At most MAX_MISTAKES, and beyond the first MAX_FIRST no more than MAX_MORE_BYTES."""
    found: dict[int, Tile] = {}
    more_bytes = 0
    for place in choose_mistakes(dataset.test_labels, probabilities):
        tile = _mistake(dataset, probabilities, place)
        if len(found) >= MAX_FIRST:
            more_bytes += len(tile.data_uri)
            if more_bytes > MAX_MORE_BYTES:
                break
        found[place] = tile
    return [found[place] for place in sorted(found, key=lambda place: (-probabilities[place].max(), place))]


def choose_mistakes(labels: Labels, probabilities: NDArray[np.float32]) -> list[int]:
    """Places of at most MAX_MISTAKES wrongly classified images: the MAX_FIRST most confident ones, then some of each
    confused pair of classes, of a pair with n images about as many as the square root of n. Of each pair the most
    confident."""
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    order = wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")].tolist()
    pairs = [(int(labels[place]), int(predicted[place])) for place in order]
    images, seen = Counter(pairs), Counter[tuple[int, int]]()
    turns = []
    for pair in pairs:
        turns.append(seen[pair] / math.sqrt(images[pair]))
        seen[pair] += 1
    others = [place for _, place in sorted(zip(turns, order, strict=True), key=lambda entry: entry[0])]
    return list(dict.fromkeys([*order[:MAX_FIRST], *others]))[:MAX_MISTAKES]


def _mistake(dataset: Dataset, probabilities: NDArray[np.float32], place: int) -> Tile:
    predicted, true = int(probabilities[place].argmax()), int(dataset.test_labels[place])
    guess, truth = dataset.labels[predicted], dataset.labels[true]
    return _tile(
        dataset.test_images[place],
        say("test image {place}: {truth}, taken for {guess}", place=place, truth=truth, guess=guess),
        f"{guess} ({percent(probabilities[place, predicted])})",
        say("true: {truth} ({share})", truth=truth, share=percent(probabilities[place, true])),
        _facts(dataset, probabilities, place),
    )


def _facts(dataset: Dataset, probabilities: NDArray[np.float32], place: int) -> dict[str, str | int]:
    """Its place in the test set, the numbers of its true and its predicted class, and the latter's probability."""
    predicted = int(probabilities[place].argmax())
    return {
        "place": place,
        "true": int(dataset.test_labels[place]),
        "predicted": predicted,
        "confidence": f"{probabilities[place, predicted]:.6f}",
    }


def tile(dataset: Dataset, place: int) -> Tile:
    """A test image with its class."""
    label = dataset.labels[int(dataset.test_labels[place])]
    return _tile(dataset.test_images[place], say("test image {place}, of {label}", place=place, label=label), label)


def data_uri(image: Images) -> str:
    """`[H, W, C] uint8` as a PNG that stands in the page itself."""
    picture = Image.fromarray(brighten(image))
    if image.shape[2] == 1:
        picture = picture.convert("L")
    picture.thumbnail((_MAX_SIDE, _MAX_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _tile(image: Images, alt: str, title: str, text: str = "", facts: Mapping[str, str | int] | None = None) -> Tile:
    height, width, _ = image.shape
    return Tile(data_uri(image), width, height, alt, title, text, facts or {})


def percent(share: float) -> str:
    """A probability for people: never 100% where something is left, never 0% where something is there."""
    if 0.999 <= share < 1:
        return ">99.9%"
    return "<0.1%" if 0 < share < 0.001 else f"{share:.1%}"
