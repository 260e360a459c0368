"""The table at the end of `covey-export all`: for the terminal, and as Markdown with all that the figures
depend on."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from covey_export.checkpoint import Checkpoint
from covey_export.publication import Published
from covey_export.quantization.precision import Precision
from covey_export.verification import versions
from covey_proto.wording import plural

HEADER = (
    "network",
    "data set",
    "recipe",
    "epochs",
    "parameters",
    "accuracy",
    "tutorial's figure",
    "largest difference",
    "disagreements",
    "training",
    "size",
    "model",
)


@dataclass(frozen=True)
class Outcome:
    """What one network came to."""

    checkpoint: Checkpoint
    published: Published

    def row(self) -> tuple[str, ...]:
        """In the order of HEADER."""
        checkpoint, verification = self.checkpoint, self.published.verification
        reported = checkpoint.recipe.reported
        is_float32 = verification.precision == Precision.FLOAT32.value
        return (
            checkpoint.network if is_float32 else f"{checkpoint.network}, {verification.precision}",
            checkpoint.dataset,
            checkpoint.recipe.name,
            str(len(checkpoint.history)),
            f"{self.published.info.training.parameters:,}",
            f"{verification.onnxruntime_accuracy:.2%}",
            f"{reported[1]:.0%}" if reported and reported[0] == checkpoint.dataset else "not stated",
            f"{verification.largest_difference:.1e}",
            f"{verification.disagreements} of {verification.images:,}",
            f"{checkpoint.seconds:.0f} s",
            f"{self.published.path.stat().st_size / 1e6:.2f} MB",
            str(self.published.path),
        )


def markdown(outcomes: Sequence[Outcome]) -> str:
    """The table, and under it date, machine, versions and seed. The model's place is left out."""
    columns = HEADER[:-1]
    lines = [
        f"| {' | '.join(columns)} |",
        f"|{' --- |' * len(columns)}",
        *(f"| {' | '.join(outcome.row()[:-1])} |" for outcome in outcomes),
        "",
        f"Date {datetime.now(UTC):%Y-%m-%d}; {machine()}; "
        + ", ".join(f"{name} {version}" for name, version in versions().items())
        + f"; seed {', '.join(sorted({str(outcome.checkpoint.seed) for outcome in outcomes}))}.",
    ]
    return "\n".join(lines) + "\n"


def machine() -> str:
    """The processor and how many of its cores this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{plural(cores or 1, 'core')} of {_cpu_model()}, {platform.system()}"


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()
