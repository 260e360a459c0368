"""What a worker answers about the images of one chunk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

# Why an image has no answer: it is no readable image; it is larger than the limits; its file or bytes are not there;
# the model answered with numbers that are not finite; the model's computation failed for it.
Reason = Literal["not readable as an image", "too large", "missing", "no finite answer", "computation failed"]
REASONS: tuple[Reason, ...] = get_args(Reason)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is wanted of each image: the `top_k` best classes, and `distribution`: the probabilities of all."""

    top_k: int
    distribution: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """What there is to know of a model, once it is loaded, checked and measured."""

    labels: tuple[str, ...]
    batch_size: int
    image_ms: float  # at that batch size
    independent: bool  # its labels do not exclude each other
    abstains: bool  # it says which images are of a known class
    device: str
    golden_difference: float


class Failure(NamedTuple):
    """In the place of an answer."""

    reason: Reason
    message: str


class Answers:
    """Of N images, in order. `classes` `[N, k] int32` has the best classes and -1 where there are no more,
    `probabilities` `[N, k] float32` theirs. `known` `[N] bool` and `distributions` `[N, K] float32` are None where they
    were not asked for; `failures` has the images without an answer, by their place."""

    def __init__(self, count: int, asked: Asked, labels: int, abstains: bool) -> None:
        self.classes: NDArray[np.int32] = np.full((count, asked.top_k), -1, np.int32)
        self.probabilities: NDArray[np.float32] = np.zeros((count, asked.top_k), np.float32)
        self.known: NDArray[np.bool_] | None = np.zeros(count, np.bool_) if abstains else None
        self.distributions = np.zeros((count, labels), np.float32) if asked.distribution else None
        self.failures: dict[int, Failure] = {}

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def nbytes(self) -> int:
        """About how much memory it takes."""
        distributions = 0 if self.distributions is None else self.distributions.nbytes
        return self.classes.nbytes + self.probabilities.nbytes + distributions + 500 * len(self.failures)
