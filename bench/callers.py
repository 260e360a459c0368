"""Many callers at once through the SDK, each with one image per request, as an application's threads would be.

Spread over a few processes, since the callers of one Python process take turns. For demonstrations and correctness;
what a server can bear is measured by load_generator.py, which costs a twentieth of this.
"""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import covey


@dataclass(frozen=True)
class Answers:
    """One entry per image, in order. Latencies are those that the callers saw."""

    indices: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    latencies_ms: NDArray[np.float64]
    seconds: float

    @property
    def per_second(self) -> float:
        return len(self.indices) / self.seconds


def classify_each(target: str, model: str, images: NDArray[np.uint8], callers: int = 64, processes: int = 2) -> Answers:
    """Classifies `images [N, H, W, C] uint8` one by one, `callers` at a time."""
    parts = np.array_split(images, processes)
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(_connect, [target] * processes))  # the starting of processes is not the server's time
        began = time.perf_counter()
        answers = list(
            pool.map(
                _classify_part, [target] * processes, [model] * processes, parts, [callers // processes] * processes
            )
        )
        seconds = time.perf_counter() - began
    indices, probabilities, latencies = (np.concatenate(column) for column in zip(*answers, strict=True))
    return Answers(indices, probabilities, latencies, seconds)


def _connect(target: str) -> None:
    with covey.Client(target) as client:
        client.models()


def _classify_part(
    target: str, model: str, images: NDArray[np.uint8], callers: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    def classify(image: NDArray[np.uint8]) -> tuple[int, float, float]:
        began = time.perf_counter()
        answer = client.classify([image], model=model, top_k=1)[0]
        return answer.index, answer.probability, (time.perf_counter() - began) * 1e3

    with covey.Client(target) as client, ThreadPoolExecutor(callers) as pool:
        indices, probabilities, latencies_ms = zip(*pool.map(classify, images), strict=True)
    return np.array(indices), np.array(probabilities), np.array(latencies_ms)
