"""HTML elements as text that is escaped unless it already is HTML: no class name can become part of the page."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

_VOID = {"img", "meta", "br"}


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def escape(text: str) -> Html:
    """Any text as HTML that shows it."""
    return Html(html.escape(text, quote=True))


def join(parts: Iterable[Html]) -> Html:
    """Elements one after the other."""
    return Html("\n".join(parts))


def element(tag: str, *children: str, **attributes: str | int) -> Html:
    """`<tag ...>children</tag>`; children that are not Html are escaped. An attribute's name may end in `_`."""
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(str(value))}"' for name, value in attributes.items()
    )
    if tag in _VOID:
        return Html(f"<{tag}{written}>")
    inside = "".join(child if isinstance(child, Html) else escape(child) for child in children)
    return Html(f"<{tag}{written}>{inside}</{tag}>")


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, numbers_from: int = 1, caption: str = "") -> Html:
    """A table whose first column names the rows; columns from `numbers_from` on are set to the right."""
    head = element("tr", *(element("th", name, scope="col") for name in header))
    body = [
        element(
            "tr",
            element("th", row[0], scope="row"),
            *(
                element("td", cell, **({"class_": "number"} if place >= numbers_from else {}))
                for place, cell in enumerate(row[1:], start=1)
            ),
        )
        for row in rows
    ]
    top = [element("caption", caption)] if caption else []
    head_rows = [element("thead", head)] if any(header) else []
    return element("div", element("table", *top, *head_rows, element("tbody", *body)), class_="scroll")


def details(summary: str, *children: str) -> Html:
    """Folded away until it is asked for; needs no script."""
    return element("details", element("summary", summary), *children)
