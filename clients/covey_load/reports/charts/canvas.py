"""Owns how charts look and how they become SVG inside the page, readable on light and on dark.

Matplotlib's pyplot, with its global state, is not used. All drawing happens inside `style()`.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib import colormaps, colors
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

# Okabe, Ito: Color universal design (2008); those that stand out on white and on black alike.
BLUE, VERMILLION, GREEN, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9"
INK = "#0a0b0c"  # stands for the page's own text colour, which differs between light and dark

_WIDTH_INCHES = 8.0
_PIXELS_PER_POINT = 96 / 72
_MIN_SPAN = 5.0  # largest to smallest value of a logarithmic axis
_WIDE_SPAN = 2_000.0  # from which it bears powers of ten alone
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
_STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],  # comes with matplotlib: charts are the same on every machine
    "font.size": 10.0,
    "axes.labelsize": 10.0,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "legend.fontsize": 9.0,
    "legend.frameon": False,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "grid.color": INK,
    "grid.alpha": 0.15,
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "text.parse_math": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "covey",  # the same names of parts in every run
}


@dataclass(frozen=True, slots=True)
class Chart:
    """An SVG element, and how to read it."""

    svg: str
    caption: str


@contextmanager
def style() -> Iterator[None]:
    """While entered, matplotlib draws as the page does, whatever the user's own settings; then as before."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def figure(height_inches: float) -> Figure:
    made = Figure(figsize=(_WIDTH_INCHES, height_inches), layout="constrained")
    FigureCanvasSVG(made)
    return made


def render(made: Figure, name: str, caption: str) -> Chart:
    """The figure as an SVG element whose inner names begin with `name`, unlike those of the page's others."""
    buffer = io.StringIO()
    made.savefig(buffer, format="svg", transparent=True, bbox_inches="tight", pad_inches=0.05, metadata=_NO_METADATA)
    return Chart(_embed(buffer.getvalue(), name), caption)


def colours(count: int) -> list[str]:
    """For lines in an order, such as the steps of a sweep: from dark blue to yellow-green."""
    scale = colormaps["viridis"]
    return [colors.to_hex(scale(0.2 + 0.65 * place / max(count - 1, 1))) for place in range(count)]


def plain_numbers(axis: Axis) -> None:
    """1,000 and 0.5, no powers of ten."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def logarithmic_times(axes: Axes, label: str) -> None:
    """A logarithmic vertical axis that has several numbers on it, however little the values differ. To be called
    when all is drawn."""
    axes.set_yscale("log")
    axes.set_ylabel(label)
    low, high = axes.get_ylim()
    if high < low * _MIN_SPAN:
        middle = math.sqrt(low * high)
        axes.set_ylim(middle / math.sqrt(_MIN_SPAN), middle * math.sqrt(_MIN_SPAN))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < low * _WIDE_SPAN else (1,), numticks=12))
    axes.yaxis.set_minor_formatter(NullFormatter())
    plain_numbers(axes.yaxis)


def legend_entries(axes: Axes) -> tuple[list[Artist], list[str]]:
    """Each name once, however many lines bear it."""
    handles, names = axes.get_legend_handles_labels()
    by_name = dict(zip(names, handles, strict=True))
    return list(by_name.values()), list(by_name)


def _embed(svg: str, name: str) -> str:
    """Matplotlib's SVG file as a part of a page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", svg)
    return re.sub(r"<svg[^>]*>", _open_scaled, svg, count=1).replace(INK, "currentColor").strip()


def _open_scaled(tag: re.Match[str]) -> str:
    """The opening tag of a picture that is as wide as its column, but never enlarged."""
    width_points = re.search(r'width="([\d.]+)pt"', tag[0])
    view_box = re.search(r'viewBox="[^"]+"', tag[0])
    if width_points is None or view_box is None:
        raise ValueError(f"matplotlib writes its SVG in another way, beginning with {tag[0]}; this is a bug")
    pixels = float(width_points[1]) * _PIXELS_PER_POINT
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg role="img" class="chart" style="max-width: {pixels:.0f}px" {view_box[0]} {spaces}>'
