"""Measures which number format is faster for the multiplications of training.

bfloat16 autocast halves the time of a convolution where the processor multiplies it in hardware (AMX,
AVX512-BF16), and costs time where it does not, or where a network is so small that converting outweighs multiplying.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch

from covey_export.option_values import TrainingPrecision

_TRIALS = 4
_WORTH_IT = 0.9  # a format with less precision must save at least a tenth


def autocast(precision: TrainingPrecision, device: torch.device) -> AbstractContextManager[None]:
    """The context in which a network runs forward."""
    context: AbstractContextManager[None] = torch.autocast(
        device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"
    )
    return context


def choose(try_step: Callable[[TrainingPrecision], None], device: torch.device) -> tuple[TrainingPrecision, str]:
    """The faster of float32 and bfloat16 for `try_step`, and the figures for people.

    `try_step` runs one step forward and backward and changes nothing. The shortest of a few trials counts, taken
    in turns, so that a busy moment of the machine does not decide.
    """
    seconds: dict[TrainingPrecision, list[float]] = {"float32": [], "bfloat16": []}
    for _ in range(_TRIALS):
        for precision, times in seconds.items():
            began_s = time.perf_counter()
            try_step(precision)
            if device.type != "cpu":
                torch.accelerator.synchronize(device)
            times.append(time.perf_counter() - began_s)
    float32_ms, bfloat16_ms = (1000 * min(times) for times in seconds.values())
    chosen: TrainingPrecision = "bfloat16" if bfloat16_ms < _WORTH_IT * float32_ms else "float32"
    return chosen, f"{chosen} (a step takes {float32_ms:.1f} ms in float32, {bfloat16_ms:.1f} ms in bfloat16)"
