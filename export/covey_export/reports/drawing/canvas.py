"""Owns how pictures look and how they become SVG that stands inside a page, readable on light and on dark.

Matplotlib's pyplot, with its global state, is not used. All drawing happens inside `style()`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import matplotlib
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.transforms import Bbox

# Okabe, Ito: Color universal design (2008); those that stand out on white and on black alike.
BLUE, VERMILLION, GREEN = "#0072B2", "#D55E00", "#009E73"
ORANGE, SKY = "#E69F00", "#56B4E9"
INK = "#0a0b0c"  # stands for the page's own text colour, which differs between light and dark
MAP = "viridis"  # of numbers from small to large
SIGNED_MAP = "PuOr"  # of numbers around zero

WIDTH_INCHES = 8.0
_FONT = "DejaVu Sans"  # comes with matplotlib: pictures are the same on every machine
_PIXELS_PER_POINT = 96 / 72
_RASTER_DPI = 192  # twice a page's 96
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
_STYLE: dict[Any, Any] = {
    "font.family": [_FONT],
    "font.size": 10.0,
    "axes.titlesize": 11.0,
    "axes.labelsize": 10.0,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "legend.fontsize": 9.0,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "legend.facecolor": "none",
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "grid.color": INK,
    "grid.alpha": 0.15,
    "grid.linewidth": 0.8,
    "lines.linewidth": 2.0,
    "text.parse_math": False,  # a class may be named $
    "svg.fonttype": "path",
    "svg.hashsalt": "covey",  # the same names of parts in every run
    "image.composite_image": False,
}


@dataclass(frozen=True)
class Picture:
    """An SVG element, and in words what it shows (read out where it cannot be seen; plain text)."""

    svg: str
    description: str


@contextmanager
def style() -> Iterator[None]:
    """While entered, matplotlib draws as the report does, whatever the user's own settings; then as before."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def figure(height_inches: float, width_inches: float = WIDTH_INCHES, *, fitted: bool = True) -> Figure:
    """An empty figure; `fitted` makes room for labels by itself."""
    made = Figure(figsize=(width_inches, height_inches), layout="constrained" if fitted else None)
    FigureCanvasAgg(made)
    return made


def render(made: Figure, name: str, description: str, part: Bbox | None = None) -> Picture:
    """The figure as an SVG element whose inner names begin with `name`, unlike those of the page's others; of it
    the `part` in inches, by default all that is drawn."""
    buffer = io.StringIO()
    made.savefig(
        buffer,
        format="svg",
        dpi=_RASTER_DPI,
        transparent=True,
        bbox_inches="tight" if part is None else part,
        pad_inches=0.05,
        metadata=_NO_METADATA,
    )
    return Picture(_embed(buffer.getvalue(), name), description)


def _embed(svg: str, name: str) -> str:
    """Matplotlib's SVG file without what only a file needs."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", svg)
    svg = svg.replace(INK, "currentColor")

    def size(found: re.Match[str]) -> str:
        width = float(found[1]) * _PIXELS_PER_POINT
        return f'<svg class="picture" style="max-width: {width:.0f}px"'

    svg = re.sub(r'<svg\b[^>]*?\bwidth="([\d.]+)pt"', lambda found: _keep_view_box(found, size(found)), svg, count=1)
    return re.sub(r'(<svg[^>]*?) height="[\d.]+pt"', r"\1", svg, count=1).strip()


def _keep_view_box(found: re.Match[str], start: str) -> str:
    attributes = found[0].removeprefix("<svg")
    return start + re.sub(r'\s*\bwidth="[\d.]+pt"', "", attributes)


def finish(axes: Axes, *, grid: str = "y") -> None:
    """A quiet grid behind the data, in the direction (`x`, `y` or `both`) in which values are read."""
    axes.grid(axis=grid)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


@cache
def _characters() -> frozenset[int]:
    """All that the font has."""
    return frozenset(FT2Font(font_manager.findfont(_FONT)).get_charmap())


def shorten(text: str, most: int) -> str:
    """`text` with at most so many characters; what is left out is an ellipsis in the middle, where names differ
    least often."""
    if len(text) <= most:
        return text
    head = most // 2
    tail = most - 1 - head
    return f"{text[:head]}…{text[len(text) - tail :]}"


def drawable(labels: tuple[str, ...], most: int = 24) -> list[str]:
    """The labels as they can stand in a picture: short, and by number where the font lacks their characters."""
    return [
        shorten(label, most) if label and all(ord(letter) in _characters() for letter in label) else f"class {place}"
        for place, label in enumerate(labels)
    ]
