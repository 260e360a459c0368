"""Sheets of test images: samples of each class, and the mistakes of which the model was most certain.

Each image is a PNG inside the page; the words under it are the page's own, in whatever script the classes have.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from covey_export.datasets import Dataset
from covey_export.datasets.dataset import Images
from covey_export.reports.elements import Html, element

SAMPLES, MISTAKES = 40, 40

_MAX_SIDE = 112  # pixels; larger images are made smaller
_FINE_FROM = 64  # pixels from which a browser may smooth
_DARK = 64  # an image without anything brighter is stretched, else it would be black (the demo's numbers 0 to 4)


def draw_samples(dataset: Dataset) -> Html:
    """Test images of each class in turn, with their class."""
    places = choose_samples(dataset)
    return _sheet(
        [
            element("li", _img(dataset.test_images[place], f"a test image of {name}"), element("b", name))
            for place in places
            for name in (dataset.labels[int(dataset.test_labels[place])],)
        ]
    )


def choose_samples(dataset: Dataset) -> list[int]:
    """Places of SAMPLES test images at most: the first of each class, then the second, sorted by class."""
    by_class = [np.flatnonzero(dataset.test_labels == label).tolist() for label in np.unique(dataset.test_labels)]
    if len(by_class) > SAMPLES:  # classes spread over all, not the first by name
        by_class = [by_class[place] for place in np.linspace(0, len(by_class) - 1, SAMPLES).round().astype(int)]
    each = max(1, SAMPLES // len(by_class))
    return [place for places in by_class for place in places[:each]]


def choose_mistakes(dataset: Dataset, probabilities: NDArray[np.float32]) -> list[int]:
    """Places of MISTAKES wrongly classified test images at most, the most confident first."""
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != dataset.test_labels)
    order = np.argsort(-probabilities[wrong].max(axis=1), kind="stable")
    places: list[int] = wrong[order][:MISTAKES].tolist()
    return places


def draw_mistakes(dataset: Dataset, probabilities: NDArray[np.float32], places: Sequence[int]) -> Html:
    """The images at `places`: what was predicted, what they are, and how probable each was held."""
    items = []
    for place in places:
        predicted, true = int(probabilities[place].argmax()), int(dataset.test_labels[place])
        guess, truth = dataset.labels[predicted], dataset.labels[true]
        items.append(
            element(
                "li",
                _img(dataset.test_images[place], f"test image {place}: {truth}, taken for {guess}"),
                element("b", f"{guess} ({_percent(probabilities[place, predicted])})"),
                element("span", f"is {truth} ({_percent(probabilities[place, true])})"),
            )
        )
    return _sheet(items)


def data_uri(image: Images) -> str:
    """`[H, W, C] uint8` as a PNG that stands in the page itself."""
    if image.max() < _DARK:
        image = (image * (255 // max(int(image.max()), 1))).astype(np.uint8)
    picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    picture.thumbnail((_MAX_SIDE, _MAX_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _img(image: Images, alt: str) -> Html:
    height, width, _ = image.shape
    kind = {"class_": "fine"} if max(height, width) > _FINE_FROM else {}
    return element("img", src=data_uri(image), alt=alt, width=width, height=height, **kind)


def _sheet(items: Sequence[Html]) -> Html:
    return element("ul", *items, class_="sheet")


def _percent(share: float) -> str:
    """Never 100% where something is left, never 0% where something is there."""
    if 0.999 <= share < 1:
        return ">99.9%"
    return "<0.1%" if 0 < share < 0.001 else f"{share:.1%}"
