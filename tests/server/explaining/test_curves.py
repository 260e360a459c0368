"""Occlusion against what is known: a linear model's own terms, and deletion and insertion curves on real digits.

The margins were fixed before the first run on these digits: see docs/explain.md.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from covey_export.datasets import find_entry
from covey_server.explaining import heat
from covey_server.images.input_spec import InputSpec

SIDE = 28
STEPS = 28
OVER_RANDOM, OVER_BLOB = 0.3, 0.05  # of the mean probability, insertion minus deletion
RNG = 5


def test_of_a_linear_model_it_is_the_mean_of_the_terms_that_are_covered() -> None:
    """Two classes: the log odds are linear in the pixels, and so covering takes away exactly the terms below."""
    chance = np.random.default_rng(RNG)
    weights = chance.normal(0, 1e-4, (SIDE, SIDE))
    image = chance.integers(0, 256, (1, SIDE, SIDE, 1), dtype=np.uint8)

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        odds = (images[..., 0] * weights).sum(axis=(1, 2))
        own = 1 / (1 + np.exp(-odds))
        return np.stack([1 - own, own], axis=1).astype(np.float64)

    fill = 100
    found = heat.occlusion(run, image, 1, [fill])
    cell = SIDE // heat.CELLS
    terms = (weights * (image[0, ..., 0].astype(float) - fill)).reshape(heat.CELLS, cell, heat.CELLS, cell)
    by_cell = terms.sum(axis=(1, 3))
    expected, size = np.zeros_like(by_cell), heat._COVERED
    for row in range(heat.CELLS):
        for column in range(heat.CELLS):
            windows = [
                by_cell[max(0, top) : top + size, max(0, left) : left + size].sum()
                for top in range(row - size + 1, row + 1)
                for left in range(column - size + 1, column + 1)
            ]
            expected[row, column] = np.mean(windows)
    np.testing.assert_allclose(found.values, expected, atol=1e-5)


class Digits:
    """Digits, and a linear classifier of them by least squares: 784 weights for each class."""

    def __init__(self) -> None:
        sample = find_entry("sample").load(InputSpec(SIDE, SIDE, 1), None)
        train = np.asarray(sample.train_images).reshape(-1, SIDE * SIDE) / 255
        self.mean = float(train.mean() * 255)
        self._mean = train.mean(axis=0)
        targets = np.eye(10)[np.asarray(sample.train_labels)]
        centred = train - self._mean
        self._weights = np.linalg.solve(centred.T @ centred + 50 * np.eye(SIDE * SIDE), centred.T @ (targets - 0.1))
        self.images = np.asarray(sample.test_images).reshape(-1, SIDE, SIDE, 1)

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        scores = 12 * (images.reshape(len(images), -1) / 255 - self._mean) @ self._weights
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        found: NDArray[np.float32] = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
        return found


def score(digits: Digits, image: NDArray[np.uint8], index: int, order: NDArray[np.int64]) -> float:
    """Mean probability while pixels are put in, minus that while they are taken out, the first of `order` first."""
    inserted = np.full((STEPS + 1, SIDE * SIDE, 1), round(digits.mean), np.uint8)
    deleted = np.repeat(image.reshape(1, -1, 1), STEPS + 1, axis=0)
    for step in range(STEPS + 1):
        some = order[: step * SIDE * SIDE // STEPS]
        inserted[step, some] = image.reshape(-1, 1)[some]
        deleted[step, some] = round(digits.mean)
    return float((digits.run(inserted) - digits.run(deleted))[:, index].mean())


@pytest.fixture(scope="module")
def digits() -> Digits:
    return Digits()


def test_deletion_and_insertion_beat_a_random_map_and_a_centre_blob(digits: Digits) -> None:
    chance = np.random.default_rng(RNG)
    places = np.arange(SIDE) - (SIDE - 1) / 2
    blob = -(places[:, None] ** 2 + places**2)
    scores = []
    for image in digits.images[chance.choice(len(digits.images), 40, replace=False)]:
        index = int(digits.run(image[None])[0].argmax())
        values = heat.occlusion(digits.run, image[None], index, [digits.mean]).values
        whole = np.repeat(np.repeat(values, SIDE // heat.CELLS, 0), SIDE // heat.CELLS, 1)
        maps = (whole, blob, chance.random((SIDE, SIDE)))
        scores.append([score(digits, image, index, np.argsort(-each.ravel(), kind="stable")) for each in maps])
    own, centre, random = np.mean(scores, axis=0)
    assert own > random + OVER_RANDOM, (own, centre, random)
    assert own > centre + OVER_BLOB, (own, centre, random)
