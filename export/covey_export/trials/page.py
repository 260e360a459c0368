"""The comparison of variants: a table for the terminal, and a page with the curves of all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from covey_export.reports import diagnosis
from covey_export.reports.drawing import trials as drawing
from covey_export.training import optimization
from covey_export.trials import how_trained
from covey_export.trials.how_trained import Tried
from covey_export.trials.trial import Trial, describe_accuracy
from covey_proto import noise
from covey_reports import canvas
from covey_reports import page as pages
from covey_reports.language import counted, say, words

_IMAGES = {"validation": "validation images", "test": "test images"}


def header(judge: str) -> tuple[str, ...]:
    """The header of `rows`; `judge` says by which images the variants are judged."""
    return (
        say("variant"),
        say("accuracy, {images}", images=say(_IMAGES[judge])),
        *words("gap to training images", "length of the weights", "parameters", "seconds"),
    )


def rows(trials: Sequence[Trial]) -> list[tuple[str, ...]]:
    """A row for each variant, in their order."""
    return [
        (
            trial.variant.title,
            describe_accuracy(trial),
            "" if trial.gap is None else say("{points:+.1f} points", points=trial.gap * 100),
            "" if math.isnan(trial.norm) else f"{trial.norm:.1f}",
            f"{trial.parameters:,}",
            f"{trial.seconds:,.0f}",
        )
        for trial in trials
    ]


def remarks(trials: Sequence[Trial]) -> list[str]:
    """Sentences on what may be concluded from the trials, which are sorted, the most accurate first."""
    if len(trials) < 2:
        return []
    first, second = trials[:2]
    points = (first.accuracy - second.accuracy) * 100
    if points == 0:
        return [say("The first and the second are equally accurate; neither leads.")]
    interval = noise.difference_interval(second.accuracies, first.accuracies, noise.PERCENT_2_5)
    if interval is None:
        one_seed = (
            "The first is {points:.2f} points ahead of the second with one seed each. Another seed may turn them "
            "round: use --seeds 3 before you choose."
        )
        return [say(one_seed, points=points)]
    low, high = (min(max(end * 100, -100.0), 100.0) for end in interval)  # no accuracy is below 0 or above 100 %
    chance = (
        "The first is {points:.2f} points ahead of the second, which may be chance: its 95 % interval is {low:+.2f} to "
        "{high:+.2f} points. More seeds make it shorter."
    )
    more = (
        "The first is {points:.2f} points ahead of the second, more than chance gives: its 95 % interval is {low:+.2f} "
        "to {high:+.2f} points."
    )
    return [say(chance if low <= 0 else more, points=points, low=low, high=high)]


@canvas.style()
def write_page(title: str, judge: str, tried: Sequence[Tried], notes: Sequence[str]) -> str:
    """The whole page; what was tried is sorted, the most accurate first. `notes` are sentences to begin with."""
    trials = [trial for _, trial in tried]
    images = say(_IMAGES[judge])
    return pages.write_page(
        "covey_export.reports",
        "trials.html.jinja",
        scripts=("values", "tables"),
        title=title,
        subtitle=say(
            "{variants}, {seeds} each, by Covey",
            variants=counted(len(trials), "variant"),
            seeds=counted(len(trials[0].accuracies), "seed"),
        ),
        header=header(judge),
        rows=rows(trials),
        remarks=notes,
        how_header=how_trained.header(),
        how_rows=how_trained.rows(tried),
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
    """Which weights decay, and how fast they learn, as a table; variants that are alike share a row."""
    alike: dict[tuple[str, str, str], list[str]] = {}
    for trial in trials:
        for group in optimization.parameter_groups(trial.network, trial.checkpoints[0].recipe):
            count = sum(values.numel() for values in group.parameters)
            rate = say(", {rate:g} x the learning rate", rate=group.rate) if group.rate != 1 else ""
            row = (say(group.name), f"{count:,}", f"{group.weight_decay:g}{rate}")
            alike.setdefault(row, []).append(trial.variant.title)
    return [(say("all") if len(titles) == len(trials) else "; ".join(titles), *row) for row, titles in alike.items()]
