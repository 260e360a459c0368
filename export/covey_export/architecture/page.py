"""The page of `covey show --output`: a network's layers, and one image on its way through them."""

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
    subject: Subject,
    steps: Sequence[Step],
    header: tuple[str, ...],
    rows: Rows,
    notes: Sequence[str],
    result: Example | None,
    index: int,
) -> str:
    """The whole page; `result` is what the model computed for the test image with that index."""
    dataset = subject.dataset
    return pages.write_page(
        "covey_export.reports",
        "architecture.html.jinja",
        title=subject.title,
        subtitle=say("{source}: layers and arithmetic, by Covey", source=subject.source),
        header=header,
        rows=rows,
        notes=notes,
        steps=steps,
        blocks=architecture.draw_blocks(steps),
        views=architecture.draw_views(steps, dataset.test_images[index]) if dataset else None,
        batch=sheets.batch(dataset) if dataset and subject.recipe is not None else [],
        seen=result,
        place=index,
        weights=_weights(subject),
        scores=_scores(result) if result else [],
        sum_of_exponentials=_sum(result) if result else "",
        values=_values(steps, result) if result else [],
    )


def _weights(subject: Subject) -> str:
    if subject.recipe is None:
        return say("the trained weights")
    return say("fresh weights: nothing is learned yet") if subject.recipe.epochs else say("the network's given weights")


def _scores(result: Example) -> list[tuple[str, str, str, str]]:
    return [
        (
            say("{label} (true)", label=score.label) if score.is_true else score.label,
            "" if score.score is None else f"{score.score:.4f}",
            "" if score.exponential is None else f"{score.exponential:.4f}",
            f"{score.probability:.4f}",
        )
        for score in result.scores
    ]


def _sum(result: Example) -> str:
    exponentials = [score.exponential for score in result.scores if score.exponential is not None]
    return f"{sum(exponentials):.4f}" if exponentials else ""


def _values(steps: Sequence[Step], result: Example) -> list[tuple[Step, str, list[list[list[str]]]]]:
    """Each layer of few numbers, with what it does and its maps row by row."""
    return [(steps[index], _describe(steps[index]), _maps(values)) for index, values in sorted(result.values.items())]


def _describe(step: Step) -> str:
    """In English as the server's "Look inside" says it; in other languages the kind of layer."""
    return step.description if is_english() else say(step.kind.replace("_", " "))


def _maps(values: NDArray[np.float32]) -> list[list[list[str]]]:
    maps = values if values.ndim == 3 else values.reshape(1, 1, -1)
    return [[[f"{number:.4g}" for number in row] for row in channel] for channel in maps.tolist()]
