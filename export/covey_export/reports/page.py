"""Owns the frame of a page: one file that loads nothing, for light and dark screens, paper and screen readers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from covey_export.reports.drawing.canvas import Picture
from covey_export.reports.elements import Html, element, escape, join

_STYLE = """
:root { color-scheme: light dark; --text: #1b1f24; --quiet: #57606a; --line: #d5dae0; --back: #ffffff;
  --card: #f5f7f9; --accent: #005a9c; --good: #00694c; --bad: #a84300; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e8ec; --quiet: #a2acb8; --line: #3a424c; --back: #14171b;
  --card: #1e2329; --accent: #7cc0f2; --good: #45c79c; --bad: #f0934e; } }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 62rem; background: var(--back); color: var(--text);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 2.8rem 0 .6rem; padding-top: .9rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.4rem 0 .4rem; }
p { max-width: 46rem; margin: .5rem 0; } a { color: var(--accent); } .quiet, caption { color: var(--quiet); }
.good { color: var(--good); } .bad { color: var(--bad); }
nav ul { columns: 15rem; padding-left: 1.1rem; margin: .4rem 0; } nav h2 { font-size: 1rem; }
.lead { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.4rem, 1fr)); gap: .7rem; margin: 1.4rem 0;
  padding: 0; }
.lead div { background: var(--card); border-radius: .5rem; padding: .7rem .8rem; display: flex;
  flex-direction: column; justify-content: space-between; }
.lead dt { color: var(--quiet); font-size: .85rem; } .lead dd { margin: 0; font-size: 1.35rem; font-weight: 600; }
figure { margin: 1.1rem 0; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr)); gap: 0 1.5rem; }
figcaption { color: var(--quiet); font-size: .92rem; max-width: 46rem; margin-top: .5rem; }
svg.picture { display: block; width: 100%; height: auto; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; margin: .7rem 0; font-size: .95rem; }
caption { text-align: left; padding-bottom: .3rem; }
th, td { text-align: left; vertical-align: top; padding: .28rem 1.1rem .28rem 0; border-bottom: 1px solid var(--line); }
th { font-weight: 600; } tbody th { font-weight: 400; color: var(--quiet); min-width: 7rem; }
td { overflow-wrap: anywhere; } .number { font-variant-numeric: tabular-nums; }
td.number:last-child:not(:nth-child(2)) { white-space: nowrap; }
thead th + th { white-space: nowrap; }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(6.2rem, 1fr)); gap: .9rem .7rem;
  list-style: none; padding: 0; margin: 1rem 0; }
.sheet li { font-size: .82rem; line-height: 1.3; overflow-wrap: anywhere; }
.sheet img { display: block; width: 100%; height: auto; image-rendering: pixelated; border: 1px solid var(--line);
  border-radius: .25rem; margin-bottom: .3rem; } .sheet img.fine { image-rendering: auto; }
.sheet b { font-weight: 600; } .sheet span { display: block; }
details { margin: .8rem 0; } summary { cursor: pointer; color: var(--accent); }
.note { border-left: 4px solid var(--bad); background: var(--card); padding: .6rem .9rem; max-width: 48rem; }
footer { margin-top: 3rem; color: var(--quiet); font-size: .9rem; }
@media print { body { max-width: none; padding: 0; } nav { display: none; } figure, .sheet li { break-inside: avoid; } }
"""


@dataclass(frozen=True)
class Section:
    """One part of a page with a heading in the table of contents."""

    heading: str
    parts: Sequence[Html]

    @property
    def anchor(self) -> str:
        return re.sub(r"[^a-z0-9]+", "-", self.heading.lower()).strip("-")


def paragraph(*texts: str) -> Html:
    return element("p", *texts)


def note(text: str) -> Html:
    """Something that must not be passed over."""
    return element("p", text, class_="note")


def show(picture: Picture, caption: str) -> Html:
    """The picture with its description for those who cannot see it, and a caption for all."""
    described = picture.svg.replace("<svg ", f'<svg role="img" aria-label="{escape(picture.description)}" ', 1)
    return element("figure", Html(described), element("figcaption", caption))


def lead(figures: Sequence[tuple[str, str]]) -> Html:
    """The few figures that people look for first."""
    return element(
        "dl", *(element("div", element("dt", name), element("dd", value)) for name, value in figures), class_="lead"
    )


def page(title: str, subtitle: str, opening: Sequence[Html], sections: Sequence[Section], footer: str) -> str:
    """The whole file."""
    contents = element(
        "nav",
        element("h2", "Contents", id="contents"),
        element(
            "ul",
            *(element("li", element("a", section.heading, href=f"#{section.anchor}")) for section in sections),
        ),
        aria_labelledby="contents",
    )
    body = join(
        [
            element("header", element("h1", title), element("p", subtitle, class_="quiet")),
            *opening,
            contents,
            element(
                "main",
                *(
                    element("section", element("h2", section.heading, id=section.anchor), *section.parts)
                    for section in sections
                ),
            ),
            element("footer", element("p", footer)),
        ]
    )
    head = join(
        [
            element("meta", charset="utf-8"),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("title", title),
            # An icon of its own, empty: browsers would ask a server for one.
            Html('<link rel="icon" href="data:,">'),
            element("style", Html(_STYLE)),
        ]
    )
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n'
