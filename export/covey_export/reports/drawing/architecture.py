"""A network as a row of blocks, and how much of the image its layers see."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.patches import Rectangle

from covey_export.architecture.steps import Step
from covey_export.datasets.dataset import Images
from covey_export.reports.drawing.tiles import brighten
from covey_reports import canvas
from covey_reports.canvas import BLUE, GREEN, ORANGE, SKY, VERMILION, Picture
from covey_reports.language import say, sentences

MAX_BLOCKS = 16
_COLOURS = {
    "input": "#888888",
    "convolution": BLUE,
    "max_pooling": VERMILION,
    "average_pooling": VERMILION,
    "fully_connected": GREEN,
    "concatenation": ORANGE,
    "addition": SKY,
    "softmax": ORANGE,
}
_NAMES = {
    "input": "image",
    "convolution": "convolution",
    "max_pooling": "pooling",
    "average_pooling": "pooling",
    "fully_connected": "fully connected",
    "concatenation": "concatenation",
    "addition": "addition",
    "softmax": "probabilities",
}
_MAX_SQUARES = 8


def draw_blocks(steps: Sequence[Step]) -> Picture:
    """One block a layer: as high as its maps, as wide as it has channels (both by logarithm)."""
    blocks = [step for step in steps if step.kind in _COLOURS]
    shown = _thinned(blocks)
    made = canvas.figure(2.9)
    axes = made.subplots()
    axes.axis("off")
    left = 0.0
    for step in shown:
        height = _scale(step.output[1] if len(step.output) == 3 else math.prod(step.output))
        width = _scale(step.output[0]) * 0.5 if len(step.output) == 3 else 0.5
        colour, name = _COLOURS[step.kind], say(_NAMES[step.kind])
        axes.add_patch(Rectangle((left, -height / 2), width, height, color=colour, alpha=0.8, label=name))
        middle = left + width / 2
        size = f"{step.output[0]}\n{step.output[1]}x{step.output[2]}" if len(step.output) == 3 else f"{step.numbers:,}"
        axes.text(middle, height / 2 + 0.2, size, ha="center", va="bottom", fontsize=8)
        axes.text(
            middle, -height / 2 - 0.2, canvas.shorten(step.name, 18), ha="right", va="top", fontsize=7, rotation=35
        )
        left += width + 0.9
    axes.set_xlim(-0.6, left)
    axes.set_ylim(-8.5, 6.2)
    canvas.legend_above(made, axes)
    left_out = say("{count} layers are left out.", count=len(blocks) - len(shown)) if len(shown) < len(blocks) else ""
    return canvas.render(
        made,
        "blocks",
        say(
            "A row of {count} blocks, from the image to the probabilities: {blocks}",
            count=len(shown),
            blocks="; ".join(f"{step.name}, {' x '.join(map(str, step.output))}" for step in shown),
        ),
        sentences(
            say(
                "Each block is the output of a layer: as high as its maps, as wide as it has channels (both by "
                "logarithm). Above it channels and size of a map, or how many numbers it has. Activations have no "
                "block."
            ),
            left_out,
        ),
    )


def draw_views(steps: Sequence[Step], image: Images) -> Picture | None:
    """Squares over the image `[H, W, C] uint8`: what the middle number of each layer sees. None without such layers."""
    views = [step for step in steps if step.view is not None and step.kind in ("convolution", "max_pooling")]
    distinct = [
        step for place, step in enumerate(views) if not place or views[place - 1].view != step.view
    ]  # where a layer sees no more than the one before it there is nothing to draw
    height, width = image.shape[:2]
    inside = [step for step in distinct if step.view and step.view.size[0] <= height and step.view.size[1] <= width]
    if not inside:
        return None
    chosen = inside[:_MAX_SQUARES]
    made = canvas.figure(3.4, 6.4)
    axes = made.subplots()
    axes.imshow(brighten(image), interpolation="none", alpha=0.55)
    axes.axis("off")
    for place, step in enumerate(chosen):
        assert step.view is not None
        tall, wide = step.view.size
        corner = ((width - wide) / 2 - 0.5, (height - tall) / 2 - 0.5)
        name = f"{canvas.shorten(step.name, 24)}: {tall} x {wide}"
        axes.add_patch(
            Rectangle(
                corner,
                wide,
                tall,
                fill=False,
                linewidth=2,
                edgecolor=canvas.COLOURS[place % len(canvas.COLOURS)],
                label=name,
            )
        )
    axes.legend(loc="center left", bbox_to_anchor=(1.05, 0.5))
    beyond = len(distinct) - len(inside)
    more = say("{count} further layers see more than the whole image.", count=beyond) if beyond else ""
    return canvas.render(
        made,
        "views",
        say(
            "Nested squares over an image: {views}",
            views="; ".join(
                say("{name} sees {height} x {width}", name=step.name, height=step.view.size[0], width=step.view.size[1])
                for step in chosen
                if step.view
            ),
        ),
        sentences(
            say(
                "What one number in the middle of a layer depends on: its receptive field. It grows with each kernel, "
                "and faster behind each stride."
            ),
            more,
        ),
    )


def _scale(size: int) -> float:
    return 0.7 + 0.85 * math.log2(max(size, 1)) if size < 64 else 0.7 + 0.85 * 6 + 0.25 * math.log2(size / 64)


def _thinned(blocks: Sequence[Step]) -> list[Step]:
    if len(blocks) <= MAX_BLOCKS:
        return list(blocks)
    places = np.unique(np.linspace(0, len(blocks) - 1, MAX_BLOCKS).round().astype(int))
    return [blocks[place] for place in places]
