"""history.csv: the losses and accuracies of a training, for spreadsheets and scripts."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from covey_export.checkpoint import Epoch

FILE = "history.csv"
COLUMNS = ("epoch", "running_loss", "training_loss", "training_accuracy", "test_loss", "test_accuracy", "seconds")


def to_csv(history: Sequence[Epoch]) -> str:
    """One row for each loss within an epoch and one for each epoch, in their order; empty is what was not measured.

    `epoch` counts finished epochs and the share of the next one. `running_loss` is the mean over the steps since the
    one before; the others belong to the end of an epoch. Accuracies are 0 to 1, `seconds` those of training so far.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for place, epoch in enumerate(history):
        running = {round(share, 6): loss for share, loss in epoch.running}
        last = running.pop(1.0, None)
        for share, loss in running.items():
            writer.writerow([f"{place + share:g}", f"{loss:.6f}", *[""] * (len(COLUMNS) - 2)])
        numbers = (last, epoch.loss, epoch.train_accuracy, epoch.test_loss, epoch.test_accuracy)
        writer.writerow([place + 1, *map(_number, numbers), "" if epoch.seconds is None else f"{epoch.seconds:.2f}"])
    return text.getvalue()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"
