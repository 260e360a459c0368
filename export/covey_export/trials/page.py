"""The comparison of variants: a table for the terminal, and a page with the curves of all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from covey_export.reports import diagnosis
from covey_export.reports.drawing import trials as drawing
from covey_export.training import optimization
from covey_export.trials.trial import Trial, describe_accuracy
from covey_proto import noise
from covey_proto.wording import plural
from covey_reports import canvas
from covey_reports import page as pages

_IMAGES = {"validation": "validation images", "test": "test images"}


def header(judge: str) -> tuple[str, ...]:
    """Of `rows`; `judge` is what the variants are judged by."""
    return (
        "variant",
        f"accuracy, {_IMAGES[judge]}",
        "gap to training images",
        "length of the weights",
        "parameters",
        "seconds",
    )


def rows(trials: Sequence[Trial]) -> list[tuple[str, ...]]:
    """One row a variant, in their order."""
    return [
        (
            trial.variant.title,
            describe_accuracy(trial),
            "" if trial.gap is None else f"{trial.gap * 100:+.1f} points",
            "" if math.isnan(trial.norm) else f"{trial.norm:.1f}",
            f"{trial.parameters:,}",
            f"{trial.seconds:,.0f}",
        )
        for trial in trials
    ]


def remarks(trials: Sequence[Trial]) -> list[str]:
    """What may be concluded from trials of one comparison, the most accurate first."""
    if len(trials) < 2:
        return []
    first, second = trials[:2]
    ahead = f"The first is {(first.accuracy - second.accuracy) * 100:.2f} points ahead of the second"
    interval = noise.difference_interval(second.accuracies, first.accuracies, noise.PERCENT_2_5)
    if interval is None:
        return [f"{ahead} with one seed each. Another seed may turn them round: use --seeds 3 before you choose."]
    low, high = (f"{end * 100:+.2f}" for end in interval)
    if interval[0] <= 0:
        return [
            f"{ahead}, which may be chance: its 95 % interval is {low} to {high} points. More seeds make it shorter."
        ]
    return [f"{ahead}, more than chance gives: its 95 % interval is {low} to {high} points."]


@canvas.style()
def write_page(title: str, judge: str, trials: Sequence[Trial]) -> str:
    """The whole page; trials are sorted, the most accurate first."""
    images = _IMAGES[judge]
    return pages.write_page(
        "covey_export.reports",
        "trials.html.jinja",
        scripts=("values", "tables"),
        title=title,
        subtitle=f"{plural(len(trials), 'variant')}, {plural(len(trials[0].accuracies), 'seed')} each, by Covey",
        header=header(judge),
        rows=rows(trials),
        remarks=remarks(trials),
        images=images,
        is_validation=judge == "validation",
        curves=drawing.draw_curves(trials, images),
        tells_enough=len(trials[0].checkpoints[0].history) >= diagnosis.MIN_EPOCHS,
        gaps=drawing.draw_gaps(trials, images),
        norms=drawing.draw_norms(trials),
        diagnoses=[
            (trial.variant.title, diagnosis.diagnose(trial.mean_history(), len(trial.checkpoints[0].labels)))
            for trial in trials
        ],
        groups=_groups(trials),
    )


def _groups(trials: Sequence[Trial]) -> list[tuple[str, str, str, str]]:
    """Which weights decay, and how fast they learn; variants that are alike in one row."""
    alike: dict[tuple[str, str, str], list[str]] = {}
    for trial in trials:
        for group in optimization.parameter_groups(trial.network, trial.checkpoints[0].recipe):
            count = sum(values.numel() for values in group.parameters)
            rate = f", {group.rate:g} x the learning rate" if group.rate != 1 else ""
            row = (group.name, f"{count:,}", f"{group.weight_decay:g}{rate}")
            alike.setdefault(row, []).append(trial.variant.title)
    return [("all" if len(titles) == len(trials) else "; ".join(titles), *row) for row, titles in alike.items()]
