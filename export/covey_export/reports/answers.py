"""What several models answer for the same test images: the published files run again, on the images that at least one
of them gets wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covey_export.datasets import Dataset
from covey_export.datasets.dataset import Images, Labels
from covey_export.reports import sheets
from covey_export.reports.findings import Findings
from covey_export.reports.sheets import Tile
from covey_proto import layout
from covey_server.inference.engine import Engine

MAX_SHOWN = 120
_BATCH = 64


@dataclass(frozen=True, slots=True)
class Answer:
    """A class and its probability, as text; and whether it is the image's own."""

    text: str
    is_right: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """An image, and the answer of each model."""

    tile: Tile
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class SideBySide:
    """`shown` has those first of which the answers differ. `differ` counts these, `alike` the images for which all give
    the same wrong class."""

    shown: tuple[Shown, ...]
    differ: int
    alike: int


def side_by_side(folders: Sequence[Path], found: Sequence[Findings], dataset: Dataset) -> SideBySide:
    """Of version folders whose models know the classes of the data set, and were tested on its images.

    Raises RefusedModel where a file cannot be run.
    """
    places = sorted(set().union(*(each.mistakes for each in found)))
    if not places:
        return SideBySide((), 0, 0)
    images, truth = dataset.test_images[places], dataset.test_labels[places]
    guesses, sure = (
        np.stack(rows)  # [M, N]
        for rows in zip(
            *(_run(folder, each, images, dataset.labels) for folder, each in zip(folders, found, strict=True)),
            strict=True,
        )
    )
    differs = (guesses != guesses[0]).any(axis=0)
    surest = np.where(guesses != truth, sure, 0).max(axis=0)  # of the wrong answers
    order = np.lexsort((-surest, ~differs))[:MAX_SHOWN]
    return SideBySide(
        tuple(
            Shown(
                sheets.tile(dataset, places[each]),
                tuple(
                    Answer(f"{dataset.labels[guess]} ({sheets.percent(share)})", guess == truth[each])
                    for guess, share in zip(guesses[:, each].tolist(), sure[:, each].tolist(), strict=True)
                ),
            )
            for each in order.tolist()
        ),
        int(differs.sum()),
        int((~differs).sum()),
    )


def _run(folder: Path, found: Findings, images: Images, labels: tuple[str, ...]) -> tuple[Labels, NDArray[np.float32]]:
    """Which of `labels` a model answers, `[N] int64`, and how probable it holds that."""
    engine = Engine(folder / layout.FILE_NAME)
    probabilities = np.concatenate(
        [engine.run(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)]
    )
    places = np.array([labels.index(label) for label in found.labels])
    return places[probabilities.argmax(axis=1)], probabilities.max(axis=1)
