"""The sizes of the batches that served the calls."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.ticker import MaxNLocator

from covey_load.measurement import Run, ServerTiming
from covey_load.reports import words
from covey_load.reports.charts import selection
from covey_proto.wording import plural
from covey_reports import canvas
from covey_reports.canvas import BLUE, Picture

_MAX_ROWS = 8
_ROW_INCHES = 0.75
_CAPTION = (
    "What share of the calls was served in batches of each size. All at 1 means that calls came one at a time, or that "
    "the server does not batch. All at the largest size means that there was always a whole batch waiting."
)


def draw_batch_sizes(runs: Sequence[Run]) -> Picture:
    """Draws a row of bars for each of the runs whose answers tell the size of their batch."""
    named = [(name, run.timing) for name, run in zip(words.numbered_names(runs), runs, strict=True) if run.timing]
    shown = selection.choose(named, _MAX_ROWS)
    figure = canvas.figure(0.9 + _ROW_INCHES * max(len(shown), 2))
    grid = figure.subplots(len(shown), 1, sharex=True, squeeze=False)
    for (name, timing), axes in zip(shown, grid[:, 0], strict=True):
        shares = _shares(timing)
        axes.bar(list(shares), list(shares.values()), color=BLUE, width=0.85)
        axes.set_title(name, loc="left", fontsize=9)
        axes.yaxis.set_major_locator(MaxNLocator(2, steps=[1, 2, 5, 10]))
        canvas.percent(axes.yaxis, decimals=0)
        axes.grid(axis="y")
    grid[-1, 0].set_xlabel("images in the batch")
    grid[-1, 0].set_xlim(left=0.4)
    grid[-1, 0].xaxis.set_major_locator(MaxNLocator(integer=True))
    description = f"Bar charts of the sizes of batches, of {plural(len(shown), 'run')}."
    return canvas.render(figure, "batch-sizes", description, _CAPTION + selection.left_out(named, shown))


def _shares(timing: ServerTiming) -> dict[int, float]:
    calls = sum(timing.batch_sizes.values())
    return {size: count / calls for size, count in sorted(timing.batch_sizes.items())} if calls else {}
