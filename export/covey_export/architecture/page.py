"""The page of `covey-export show --output`: a network's layers, and one image on its way through them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from covey_export.architecture.example import Example
from covey_export.architecture.steps import Step
from covey_export.architecture.subject import Subject
from covey_export.reports import sheets
from covey_export.reports.drawing import architecture
from covey_reports import canvas
from covey_reports import page as pages
from covey_reports.language import is_english, say

Rows = Sequence[tuple[str, ...]]


@canvas.style()
def write_page(
    shown: Subject,
    steps: Sequence[Step],
    header: tuple[str, ...],
    rows: Rows,
    notes: Sequence[str],
    seen: Example | None,
    place: int,
) -> str:
    """The whole page; `seen` is what became of the test image at `place`."""
    dataset = shown.dataset
    return pages.write_page(
        "covey_export.reports",
        "architecture.html.jinja",
        title=shown.title,
        subtitle=say("{source}: layers and arithmetic, by Covey", source=shown.source),
        header=header,
        rows=rows,
        notes=notes,
        steps=steps,
        blocks=architecture.draw_blocks(steps),
        views=architecture.draw_views(steps, dataset.test_images[place]) if dataset else None,
        batch=sheets.batch(dataset) if dataset and shown.recipe is not None else [],
        seen=seen,
        place=place,
        weights=_weights(shown),
        scores=_scores(seen) if seen else [],
        sum_of_exponentials=_sum(seen) if seen else "",
        values=_values(steps, seen) if seen else [],
    )


def _weights(shown: Subject) -> str:
    if shown.recipe is None:
        return say("the trained weights")
    return say("fresh weights: nothing is learned yet") if shown.recipe.epochs else say("the network's given weights")


def _scores(seen: Example) -> list[tuple[str, str, str, str]]:
    return [
        (
            say("{label} (true)", label=score.label) if score.is_true else score.label,
            "" if score.score is None else f"{score.score:.4f}",
            "" if score.exponential is None else f"{score.exponential:.4f}",
            f"{score.probability:.4f}",
        )
        for score in seen.scores
    ]


def _sum(seen: Example) -> str:
    exponentials = [score.exponential for score in seen.scores if score.exponential is not None]
    return f"{sum(exponentials):.4f}" if exponentials else ""


def _values(steps: Sequence[Step], seen: Example) -> list[tuple[Step, str, list[list[list[str]]]]]:
    """Each layer of few numbers with what it does, and its maps, row by row."""
    return [(steps[place], _describe(steps[place]), _maps(values)) for place, values in sorted(seen.values.items())]


def _describe(step: Step) -> str:
    """In English as the server's "Look inside" says it; in other languages the kind of layer."""
    return step.description if is_english() else say(step.kind.replace("_", " "))


def _maps(values: NDArray[np.float32]) -> list[list[list[str]]]:
    maps = values if values.ndim == 3 else values.reshape(1, 1, -1)
    return [[[f"{number:.4g}" for number in row] for row in one] for one in maps.tolist()]
