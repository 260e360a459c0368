"""The kit that all reports are made of: what is escaped, ids, labels, and who must not need it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from jinja2 import UndefinedError
from tests.reports.pages import Page, assert_self_contained, pictures

from covey_reports import canvas, page
from covey_reports.canvas import Picture

HOSTILE = '<script>alert("1")</script> & "quoted"'
TEMPLATE = """\
{% extends "frame.html.jinja" %}
{% from "parts.html.jinja" import figure, folded, lead, notes, section, table with context %}
{% block opening %}{{ lead([(word, word)]) }}{{ notes([word]) }}{% endblock %}
{% block main %}
{% call section("First things") %}{{ table((word, "n"), [(word, 1), (word, 2)], marked=[1]) }}{% endcall %}
{% call section("Second things") %}{% call folded(word) %}{{ figure(picture) }}{% endcall %}{% endcall %}
{% endblock %}
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package with templates of its own, as covey_export and covey_load are."""
    folder = tmp_path / "kit_user"
    (folder / "templates").mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "templates" / "a.html.jinja").write_text(TEMPLATE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "kit_user", raising=False)
    return "kit_user"


def draw(name: str = "a", description: str = "a picture that says what it shows, at some length") -> Picture:
    with canvas.style():
        made = canvas.figure(2)
        axes = made.subplots()
        axes.plot([1, 2], [3, 4], label=HOSTILE)
        axes.imshow(np.zeros((2, 2)), extent=(1, 2, 3, 4), interpolation="none")
        axes.imshow(np.zeros((2, 2)), extent=(1, 2, 3, 4), interpolation="none")
        canvas.legend_above(made, axes)
        return canvas.render(made, name, description, HOSTILE)


def test_page_shows_any_text_and_lists_its_sections(package: str) -> None:
    text = page.write_page(
        package, "a.html.jinja", title=HOSTILE, subtitle=HOSTILE, word=HOSTILE, picture=draw(description=HOSTILE * 2)
    )

    assert_self_contained(text)
    assert pictures(text) == ["a"]
    found = Page(text)
    # Title and heading, subtitle, both parts of the lead, note, three cells, summary, legend, caption.
    assert found.texts.count(HOSTILE) == 12
    assert found.all("svg")[0]["aria-label"] == HOSTILE * 2
    assert [link["href"] for link in found.all("a")] == ["#first-things", "#second-things"]
    assert [row.get("class") for row in found.all("tr")] == [None, None, "bad"]
    assert text.count('class="number"') == 3


def test_value_that_a_template_lacks_is_an_error(package: str) -> None:
    with pytest.raises(UndefinedError, match="'word' is undefined"):
        page.write_page(package, "a.html.jinja", title="", subtitle="")


def test_two_pictures_share_no_id_and_leave_the_settings_alone() -> None:
    with matplotlib.rc_context({"font.size": 33}):
        first, second = draw("a"), draw("b")
        assert matplotlib.rcParams["font.size"] == 33
    ids = [attributes["id"] for _, attributes in Page(first.svg + second.svg).tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert first == draw("a")


def test_labels_that_have_no_room_are_left_out() -> None:
    with canvas.style():
        made = canvas.figure(2)
        axes = made.subplots()
        texts = [axes.text(at, 0.5, "label") for at in (0.0, 0.01, 0.5)]
        canvas.thin_out(made, texts)
        assert list(axes.texts) == [texts[0], texts[2]]


def test_logarithmic_axis_of_values_that_hardly_differ_has_labels() -> None:
    with canvas.style():
        made = canvas.figure(2)
        axes = made.subplots()
        axes.plot([1, 2], [0.61, 0.62])
        canvas.logarithmic(axes)
        made.draw_without_rendering()
        shown = [text.get_text() for text in axes.get_yticklabels() if text.get_text()]
    assert {"0.5", "1"} <= set(shown)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (("short", ""), ["short", "class 1"]),
        (("\u732b", "K\u00f6ln"), ["class 0", "K\u00f6ln"]),
        (("a very long name of a class",), ["a ve\u2026lass"]),
    ],
)
def test_names_that_a_picture_can_show(labels: tuple[str, ...], expected: list[str]) -> None:
    assert canvas.drawable(labels, 9) == expected


def test_neither_the_sdk_nor_the_server_needs_it() -> None:
    code = "import sys, covey, covey.cli, covey_server.app; print(*{name.split('.')[0] for name in sys.modules})"
    found = set(subprocess.check_output([sys.executable, "-c", code], text=True).split())
    assert not found & {"covey_reports", "jinja2", "matplotlib"}
