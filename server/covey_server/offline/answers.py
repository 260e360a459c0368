"""The options of a batch, and the answers for the images of one chunk."""

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
class ClassifyOptions:
    """What to answer for each image: the `top_k` best classes and, if `distribution`, the probabilities of all
    classes."""

    top_k: int
    distribution: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a model once it is loaded, checked and measured."""

    labels: tuple[str, ...]
    batch_size: int
    image_ms: float  # at that batch size
    independent: bool  # its labels do not exclude each other
    abstains: bool  # it says which images are of a known class
    device: str
    golden_difference: float


class Failure(NamedTuple):
    """Why an image has no answer."""

    reason: Reason
    message: str


class Answers:
    """The answers for N images, in order. `classes` `[N, k] int32` are the best classes, -1 where there are no more,
    and `probabilities` `[N, k] float32` are theirs. `known` `[N] bool` and `distributions` `[N, K] float32` are None
    where they were not asked for. `failures` are the images without an answer, by index."""

    def __init__(self, count: int, options: ClassifyOptions, labels: int, abstains: bool) -> None:
        self.classes: NDArray[np.int32] = np.full((count, options.top_k), -1, np.int32)
        self.probabilities: NDArray[np.float32] = np.zeros((count, options.top_k), np.float32)
        self.known: NDArray[np.bool_] | None = np.zeros(count, np.bool_) if abstains else None
        self.distributions = np.zeros((count, labels), np.float32) if options.distribution else None
        self.failures: dict[int, Failure] = {}

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def nbytes(self) -> int:
        """Roughly how much memory the answers take."""
        distributions = 0 if self.distributions is None else self.distributions.nbytes
        return self.classes.nbytes + self.probabilities.nbytes + distributions + 500 * len(self.failures)
