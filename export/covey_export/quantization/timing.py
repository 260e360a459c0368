"""Measures whether a variant is faster on this machine than the float32 model, by the server's own engine."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from covey_export.datasets.dataset import Images
from covey_export.quantization.precision import Precision
from covey_server.inference.devices import choose
from covey_server.inference.engine import Engine

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)
PAYS_FROM = 1.1  # times the speed of float32; less is within what a busy machine changes from run to run

_TURN_S = 0.01  # small networks run many times in one turn
_TURNS = 15
_MAX_DURATION_S = 6.0  # of the comparison at one batch size; a slow network gets fewer turns
_MIN_TURNS = 3
_SEARCH_TURNS = 5
_MAX_BATCH_S = 1.0  # where one batch takes longer, larger ones are not tried
_BETTER = 0.97  # a larger batch is better only if it takes less than this share of the time per image


@dataclass(frozen=True)
class Speed:
    """The measured speed, on one thread of this machine. Times are by batch size: 1, and float32's best."""

    float32_us_per_image: dict[int, float]
    variant_us_per_image: dict[int, float]
    times_the_speed: dict[int, float]  # of float32; above 1 the variant is faster
    times_smaller: float  # the file
    pays: bool
    sentence: str  # all of it, for people


def compare(float32: Path, variant: Path, precision: Precision, images: Images) -> Speed:
    """Measures both model files on the CPU, by turns, so that other load on the machine affects both alike.

    Raises CoveyServerError where one cannot be run.
    """
    engines = [Engine(path, choose("cpu"), threads=1) for path in (float32, variant)]
    batch_sizes = sorted({1, _best_batch_size(engines[0], images)})
    times = {
        size: [median(seconds) for seconds in _turns(engines, _batch(images, size), _TURNS)] for size in batch_sizes
    }
    faster = {size: times[size][0] / times[size][1] for size in batch_sizes}
    smaller = float32.stat().st_size / variant.stat().st_size
    return Speed(
        float32_us_per_image={size: times[size][0] / size * 1e6 for size in batch_sizes},
        variant_us_per_image={size: times[size][1] / size * 1e6 for size in batch_sizes},
        times_the_speed=faster,
        times_smaller=smaller,
        pays=any(factor >= PAYS_FROM for factor in faster.values()),
        sentence=sentence(precision, faster, smaller),
    )


def sentence(precision: Precision, faster: dict[int, float], smaller: float) -> str:
    """A sentence for people: whether the variant pays, and the figures. `faster` is times the speed of float32, by
    batch size."""
    paying = [size for size, factor in faster.items() if factor >= PAYS_FROM]
    if not paying:
        verdict = "does not pay here"
    elif len(paying) == len(faster):
        verdict = "pays here"
    else:
        verdict = f"pays here at batch {paying[0]} only"
    figures = ", ".join(
        f"{factor:.1f} x {'the speed of float32 ' if index == 0 else ''}at batch {size}"
        for index, (size, factor) in enumerate(faster.items())
    )
    hint = ""
    if precision is Precision.FLOAT16 and not paying:
        hint = " (onnxruntime's CPU provider computes float16 in float32; it is for GPUs, or to save space)"
    return f"{precision.value} {verdict}: {figures}; the file is {smaller:.1f} x smaller{hint}"


def _best_batch_size(engine: Engine, images: Images) -> int:
    """The batch size with the least time per image, by the fastest of a few turns: noise only adds time."""
    best, best_s = 1, float("inf")
    for size in BATCH_SIZES:
        batch_s = min(*_turns([engine], _batch(images, size), _SEARCH_TURNS)[0])
        if batch_s / size < _BETTER * best_s:
            best, best_s = size, batch_s / size
        if batch_s > _MAX_BATCH_S:
            break
    return best


def _turns(engines: list[Engine], batch: Images, turns: int) -> list[list[float]]:
    """The CPU seconds of one batch in each turn of each engine; the engines take turns."""
    runs = []
    for engine in engines:
        engine.run(batch)  # the first reserves memory
        runs.append(max(1, round(_TURN_S / _turn(engine, batch, 1))))
    seconds: list[list[float]] = [[] for _ in engines]
    began = time.perf_counter()
    for turn in range(turns):
        for index, engine in enumerate(engines):
            seconds[index].append(_turn(engine, batch, runs[index]))
        if turn + 1 >= _MIN_TURNS and time.perf_counter() - began > _MAX_DURATION_S:
            break
    return seconds


def _turn(engine: Engine, batch: Images, runs: int) -> float:
    """The CPU time of one batch: with one thread the engine computes on this one. By the clock of a busy machine a
    float16 variant that costs as much as float32 was found to be 1.9 times as fast."""
    began = time.thread_time()
    for _ in range(runs):
        engine.run(batch)
    return (time.thread_time() - began) / runs


def _batch(images: Images, size: int) -> Images:
    """`size` images, some more than once where there are fewer."""
    return np.ascontiguousarray(images[np.arange(size) % len(images)])
