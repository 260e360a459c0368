"""The table at the end of `covey export all`: for the terminal, and as Markdown with all that the figures
depend on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from covey_export import environment
from covey_export.checkpoint import Checkpoint
from covey_export.publication import Published

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
        return (
            f"{checkpoint.network}, {verification.precision}" if verification.is_variant else checkpoint.network,
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
        f"Date {datetime.now(UTC):%Y-%m-%d}; {environment.machine()}; "
        + ", ".join(f"{name} {version}" for name, version in environment.versions().items())
        + f"; seed {', '.join(sorted({str(outcome.checkpoint.seed) for outcome in outcomes}))}.",
    ]
    return "\n".join(lines) + "\n"
