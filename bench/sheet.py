"""Draws test images with what was predicted for them, the wrong ones marked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bench.picture import write_png

COLUMNS, ROWS = 12, 6
RIGHT, WRONG = "#0072B2", "#D55E00"  # Okabe and Ito's blue and vermilion: told apart by colour-blind eyes too


def draw(
    path: Path,
    title: str,
    images: NDArray[np.uint8],
    truth: NDArray[np.int64],
    indices: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    labels: Sequence[str],
) -> None:
    """Writes a PNG of `ROWS` x `COLUMNS` images `[N, H, W, C] uint8`: right ones as the set has them, then
    mistakes, at most a third of the sheet, the most confident first."""
    wrong = np.flatnonzero(indices != truth)
    wrong = wrong[np.argsort(-probabilities[wrong])][: ROWS * COLUMNS // 3]
    right = np.flatnonzero(indices == truth)[: ROWS * COLUMNS - len(wrong)]
    figure = Figure(figsize=(COLUMNS * 1.05, ROWS * 1.42 + 0.9), layout="constrained")
    axes = figure.subplots(ROWS, COLUMNS)
    for axis in axes.flat:
        axis.axis("off")
    for axis, place in zip(axes.flat, [*right, *wrong], strict=False):
        is_right = indices[place] == truth[place]
        axis.imshow(images[place].squeeze(), cmap="gray", interpolation="nearest")
        text = f"{labels[indices[place]]}  {probabilities[place]:.0%}"
        if not is_right:
            text += f"\nnot {labels[truth[place]]}"
            axis.axis("on")
            axis.set(xticks=[], yticks=[])
            for spine in axis.spines.values():
                spine.set(color=WRONG, linewidth=2.5)
        else:
            text += "\n"
        axis.set_title(text, fontsize=8.5, color=RIGHT if is_right else WRONG, pad=3)
    figure.suptitle(title, fontsize=12)
    write_png(figure, path)
