"""How charts look, and how they become SVG inside a page, readable on light and on dark screens.

Matplotlib's pyplot, with its global state, is not used. All drawing happens inside `style()`, in the language that is
spoken (covey_reports.language).
"""

from __future__ import annotations

import io
import json
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter
from matplotlib.transforms import Bbox

from covey_reports import language
from covey_reports.places import Answer, Places

# Okabe, Ito: Color universal design (2008); those that stand out on white and on black alike.
BLUE, VERMILION, GREEN, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9"
COLOURS = (BLUE, VERMILION, GREEN, ORANGE, SKY)
_MARKERS, _DASHES = "oDs^v", ("-", "--")
MAX_SERIES = len(COLOURS) * len(_DASHES)  # that one chart can tell apart
INK = "#0a0b0c"  # stands for the page's own text colour, which differs between light and dark
MAP = "viridis"  # of numbers from small to large

WIDTH_INCHES = 9.9  # a page's column
HALF_INCHES = 4.8  # of a chart that has another one beside it
_FONT = "DejaVu Sans"  # by which room is made; it comes with matplotlib, and pages' own fonts are narrower
_PAD_INCHES = 0.05
_MIN_SCALE = 0.68  # below it a chart is not made smaller on narrow screens: it scrolls
_PIXELS_PER_INCH, _PIXELS_PER_POINT = 96, 96 / 72
_WIDE = 0.9  # share of the column from which a chart fills it
_GAP = 0.04  # between two charts side by side, as a share of the width
_RASTER_DPI = 192  # twice a page's 96
_MIN_SPAN = 5.0  # largest to smallest value of a logarithmic axis
_WIDE_SPAN = 2_000.0  # from which it bears powers of ten alone
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
_INKED = (
    "text.color",
    "axes.edgecolor",
    "axes.labelcolor",
    "axes.titlecolor",
    "xtick.color",
    "ytick.color",
    "grid.color",
)
_STYLE: dict[Any, Any] = {
    **dict.fromkeys(_INKED, INK),
    "font.family": [_FONT],
    "font.size": 10.0,
    "axes.titlesize": 11.0,
    "axes.labelsize": 10.0,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "legend.fontsize": 9.0,
    "legend.frameon": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "grid.alpha": 0.15,
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "text.parse_math": False,  # a class may be named $
    "svg.fonttype": "none",  # text stays text: it can be selected and searched
    "svg.hashsalt": "covey",  # the same names of parts in every run
    "image.composite_image": False,
}


@dataclass(frozen=True, slots=True)
class Picture:
    """An SVG element, and the words below it: what it shows and how to read it."""

    svg: Markup
    caption: str


@contextmanager
def style() -> Iterator[None]:
    """While entered, matplotlib draws as reports do, whatever the user's own settings; then as before.

    Also a decorator.
    """
    with matplotlib.rc_context(), warnings.catch_warnings():
        if not language.is_english():  # the font lacks its characters; matplotlib makes room for them all the same
            warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def series(place: int) -> tuple[str, str, str]:
    """Colour, marker and dashes of the lines of a chart in turn, of MAX_SERIES at most."""
    turn, kind = divmod(place, len(COLOURS))
    return COLOURS[kind], _MARKERS[kind], _DASHES[turn]


def figure(height_inches: float, width_inches: float = WIDTH_INCHES, *, fitted: bool = True) -> Figure:
    """An empty figure; `fitted` makes room for labels by itself."""
    made = Figure(
        figsize=(width_inches, height_inches), layout=ConstrainedLayoutEngine(wspace=_GAP) if fitted else None
    )
    FigureCanvasAgg(made)
    return made


def render(
    made: Figure, name: str, description: str, caption: str, answers: Mapping[str, Answer] | None = None
) -> Picture:
    """The figure as an SVG element whose ids begin with `name`, which no other picture of the page has.

    `description` is read out where the picture cannot be seen. `answers` are what the page's scripts say of the places
    in it, by the name of the attribute that holds them as JSON.
    """
    made.draw_without_rendering()
    made.set_layout_engine("none")  # all is in its place now, and stays there
    box = made.get_tightbbox().padded(_PAD_INCHES)
    buffer = io.StringIO()
    made.savefig(buffer, format="svg", dpi=_RASTER_DPI, transparent=True, bbox_inches=box, metadata=_NO_METADATA)
    corner = (float(box.x0), float(box.y1))
    found = {attribute: answer(Places(made.dpi, corner)) for attribute, answer in (answers or {}).items()}
    return Picture(_embed(buffer.getvalue(), name, description, found), caption)


def percent(axis: Axis, decimals: int | None = None) -> None:
    """Labels shares of 1 as percentages, by default with as many decimals as the axis needs."""
    axis.set_major_formatter(PercentFormatter(1, decimals=decimals))


def plain_numbers(axis: Axis) -> None:
    """Labels 1,000 and 0.5, never powers of ten."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def logarithmic(axes: Axes) -> None:
    """Makes the vertical axis logarithmic, with several labels however little the values differ.

    Call it when all is drawn.
    """
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    if high < low * _MIN_SPAN:
        middle = math.sqrt(low * high)
        axes.set_ylim(middle / math.sqrt(_MIN_SPAN), middle * math.sqrt(_MIN_SPAN))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < low * _WIDE_SPAN else (1,), numticks=12))
    axes.yaxis.set_minor_formatter(NullFormatter())
    plain_numbers(axes.yaxis)


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Names the rows 0, 1, ... of a horizontal chart, the first on top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)


def legend_above(made: Figure, axes: Axes, columns: int = 5) -> None:
    """Above the charts, each name once, however many lines bear it."""
    handles, names = axes.get_legend_handles_labels()
    by_name = dict(zip(names, handles, strict=True))
    made.legend(list(by_name.values()), list(by_name), loc="outside upper center", ncols=columns)


def thin_out(made: Figure, texts: Sequence[Text]) -> None:
    """Removes each text that overlaps one before it. Call it when all is drawn."""
    made.draw_without_rendering()
    kept: list[Bbox] = []
    for text in texts:
        box = text.get_window_extent()
        if box.count_overlaps(kept):
            text.remove()
        else:
            kept.append(box)


def shorten(text: str, most: int) -> str:
    """`text` with at most so many characters; an ellipsis replaces the middle, where names differ least often."""
    if len(text) <= most:
        return text
    head = most // 2
    return f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"


def drawable(labels: Sequence[str], most: int = 24) -> list[str]:
    """The labels as they can stand in a picture: short, and by number where the font lacks their characters."""
    return [
        shorten(label, most)
        if label and all(ord(letter) in _characters() for letter in label)
        else language.say("class {place}", place=place)
        for place, label in enumerate(labels)
    ]


@cache
def _characters() -> frozenset[int]:
    """All that the font has."""
    return frozenset(FT2Font(font_manager.findfont(_FONT)).get_charmap())


def _embed(svg: str, name: str, description: str, answers: Mapping[str, object]) -> Markup:
    """Matplotlib's SVG file as an element of a page."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="image[0-9a-f]+"', "", svg)  # of pixels: the same for the same pixels, and nothing refers to it
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r">\s+<", "><", svg)
    svg = re.sub(r'(?<= d=")[^"]+', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]), svg)  # a hundredth suffices
    svg = svg.replace(f"; font-family: '{_FONT}'", "")  # the page's own
    opening = svg[: svg.index(">") + 1]
    width_points = re.search(r'width="([\d.]+)pt"', opening)
    view_box = re.search(r'viewBox="[^"]+"', opening)
    if width_points is None or view_box is None:
        raise ValueError(f"matplotlib writes its SVG in another way, beginning with {opening}; this is a bug")
    pixels = float(width_points[1]) * _PIXELS_PER_POINT
    width = f"min-width: {_MIN_SCALE * pixels:.0f}px"
    if pixels < _WIDE * WIDTH_INCHES * _PIXELS_PER_INCH:  # as wide as its column, but never much enlarged
        width += f"; max-width: {pixels:.0f}px"
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    start = f'<svg role="img" class="picture" style="{width}" {view_box[0]} {spaces}'
    data = "".join(f" data-{attribute}='{_json(answer)}'" for attribute, answer in answers.items())
    rest = svg.removeprefix(opening).replace(INK, "currentColor")
    return Markup(f'{start}{data} aria-label="{escape(description)}">{rest}')


def _json(value: object) -> str:
    """For an attribute within single quotes: JSON is full of double ones."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("&", "&amp;").replace("'", "&#39;").replace("<", "&lt;").replace(">", "&gt;")
