"""Training reports as files: what they answer, and what is left of them without scripts, on paper and on phones."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.export.reports.cases import Case, make_case

from covey_export.checkpoint import Epoch
from covey_export.reports import sheets
from covey_export.reports.comparison import compare
from covey_reports import language

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HOSTILE = "<img src=x onerror='window.wasRun = 1'>"
LABELS = ("crow", "owl", "tit", "wren", HOSTILE, "an uncommonly long name of a bird")
RUNNING = tuple((step / 4, 2.4 - step / 10) for step in range(1, 5))
HISTORY = (Epoch(2.0, 0.2, 0.3, 1.9, RUNNING), Epoch(1.0, 0.5, 0.6, 0.9), Epoch(0.5, 0.7, 0.65, 0.75))
PHONE = {"width": 390, "height": 844}

OpenFile = Callable[..., "Page"]


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Of 1,500 test images about 500 are taken for another class: more than a page holds."""
    folder = tmp_path_factory.mktemp("birds")
    truth = np.repeat(np.arange(len(LABELS)), 250)
    case = make_case(folder, LABELS, (12, 12, 1), history=HISTORY, test_labels=truth, shown=3)
    assert len(case.findings.mistakes) > sheets.MAX_MISTAKES
    return case


@pytest.fixture(scope="module")
def report(birds: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(birds.page, encoding="utf-8")
    return path


@pytest.fixture
def open_file(browser: Browser) -> Iterator[OpenFile]:
    """Opens files in tabs of their own. None may complain, nor ask for anything else."""
    contexts, complaints = [], []

    def open_tab(path: Path, **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: None if known(request.url, path) else complaints.append(request.url))
        page.goto(path.as_uri())
        return page

    yield open_tab
    for context in contexts:
        context.close()
    assert complaints == []


def known(url: str, path: Path) -> bool:
    return url.startswith("data:") or url == path.as_uri()


def rest(page: Page, selector: str, across: float, down: float, *, click: bool = False) -> None:
    """Puts the pointer on a place of a layer, given as shares of it."""
    place = page.locator(selector).first
    place.scroll_into_view_if_needed()
    box = place.bounding_box()
    assert box is not None
    at = box["x"] + across * box["width"], box["y"] + down * box["height"]
    page.mouse.move(*at)
    if click:
        page.mouse.click(*at)


CURVE = '[role="slider"]'
MATRIX = ".framed:has(svg[data-matrix]) .layer"


def test_pointer_on_a_curve_shows_its_values(report: Path, open_file: OpenFile) -> None:
    page = open_file(report)

    rest(page, CURVE, 0.99, 0.5)

    tip = page.locator(".tip")
    assert re.split(r"\s*\n\s*", tip.inner_text()) == ["epoch 3", "test images 0.75"]
    assert page.locator(".layer .dot").count() == 1
    page.mouse.move(1, 1)
    assert tip.count() == 0


def test_points_that_answer_lie_on_their_lines(report: Path, open_file: OpenFile) -> None:
    """The places in the page's data are those that matplotlib drew."""
    page = open_file(report)

    found = page.evaluate(
        """() => [...document.querySelectorAll("#losses-axes_1, #accuracies-axes_1")].map((axes) => {
          const chart = JSON.parse(axes.closest("svg").dataset.values)[0];
          const drawn = [...axes.querySelectorAll("path")].flatMap((path) =>
            [...path.getAttribute("d").matchAll(/[ML] ([\\d.]+) ([\\d.]+)/g)].map(([, x, y]) => [+x, +y]));
          return chart.points.flatMap(([x, , values]) => values.map(([, y]) =>
            Math.min(...drawn.map((each) => Math.hypot(each[0] - x, each[1] - y)))));
        })"""
    )

    assert [len(distances) for distances in found] == [7, 6]  # running losses and test losses; both accuracies
    assert max(max(distances) for distances in found) < 0.2  # in units of the picture


def test_arrow_keys_go_along_a_curve(report: Path, open_file: OpenFile) -> None:
    page = open_file(report)
    curve = page.locator(CURVE).nth(1)

    curve.focus()
    assert curve.get_attribute("aria-valuetext") == "epoch 3: training images 70.00%, test images 65.00%"
    curve.press("ArrowLeft")
    assert curve.get_attribute("aria-valuetext") == "epoch 2: training images 50.00%, test images 60.00%"
    curve.press("Home")
    curve.press("ArrowLeft")
    assert page.locator(".tip b").first.inner_text() == "epoch 1"
    curve.press("Escape")
    assert page.locator(".tip").count() == 0


def test_click_on_a_cell_shows_its_images(birds: Case, report: Path, open_file: OpenFile) -> None:
    page = open_file(report)
    matrix = birds.findings.confusion_matrix()

    rest(page, MATRIX, 3.5 / 6, 1.5 / 6, click=True)  # owl, taken for wren

    words = f"{matrix[1, 3]} of 250 test images, {matrix[1, 3] / 250:.1%}"
    assert page.locator(".tip").inner_text().split("\n") == ["true owl, predicted wren", words]
    panel = page.locator(".panel")
    shown = panel.locator("li").count()
    assert 0 < shown < matrix[1, 3]
    said = panel.locator("[role=status]").inner_text()
    assert said == (
        f"{matrix[1, 3]} of 250 test images of owl were taken for wren ({matrix[1, 3] / 250:.1%}). "
        f"This page holds {shown} of them."
    )
    cells = "tiles => tiles.map((tile) => `${tile.dataset.true} ${tile.dataset.predicted}`)"
    assert panel.locator("li").evaluate_all(cells) == ["1 3"] * shown
    places = panel.locator("li").evaluate_all("tiles => tiles.map((tile) => tile.dataset.place)")
    assert len(set(places)) == shown
    assert [each.input_value() for each in panel.locator("select").all()] == ["1", "3"]


def test_lists_of_classes_lead_to_a_cell(birds: Case, report: Path, open_file: OpenFile) -> None:
    """Also on the diagonal, whose images are the samples that got their class."""
    page = open_file(report)
    right = birds.probabilities.argmax(axis=1) == birds.dataset.test_labels
    samples = [place for place in sheets.choose_samples(birds.dataset) if birds.dataset.test_labels[place] == 4]

    page.locator(".panel select").nth(0).select_option("4")
    page.locator(".panel select").nth(1).select_option("4")

    assert page.locator(".panel li").count() == sum(right[samples])
    assert f"test images of {HOSTILE} got this class" in page.locator(".panel [role=status]").inner_text()
    assert page.evaluate("window.wasRun") is None


def test_every_confused_pair_has_an_image(birds: Case) -> None:
    chosen = sheets.choose_mistakes(birds.dataset.test_labels, birds.probabilities)

    predicted = birds.probabilities.argmax(axis=1)
    pairs = {(int(birds.dataset.test_labels[place]), int(predicted[place])) for place in chosen}
    assert pairs == {(true, guess) for true, guess, _ in birds.findings.confused_pairs()}
    assert len(chosen) == len(set(chosen)) == sheets.MAX_MISTAKES
    confident = sorted(birds.findings.mistakes, key=lambda place: -birds.probabilities[place].max())
    assert chosen[: sheets.MAX_FIRST] == confident[: sheets.MAX_FIRST]


def test_mistakes_are_filtered_and_sorted(report: Path, open_file: OpenFile) -> None:
    page = open_file(report)
    shown = page.locator(".mistakes .sheet li:not([hidden])")
    true, predicted, order = page.locator(".mistakes select").all()
    assert shown.count() == sheets.MAX_FIRST

    page.locator(".mistakes").get_by_role("button", name=f"Show all {sheets.MAX_MISTAKES}").click()
    assert shown.count() == sheets.MAX_MISTAKES
    true.select_option("owl")
    predicted.select_option("tit")
    order.select_option("least confident first")

    found = shown.evaluate_all(
        "tiles => tiles.map((tile) => [`${tile.dataset.true} ${tile.dataset.predicted}`, +tile.dataset.confidence])"
    )
    assert 3 < len(found) < sheets.MAX_FIRST
    assert {cell for cell, _ in found} == {"1 2"}
    assert [confidence for _, confidence in found] == sorted(confidence for _, confidence in found)
    assert page.locator(".mistakes [role=status]").inner_text() == f"{len(found)} of {len(found)} shown"
    true.select_option("any")
    predicted.select_option("any")
    assert shown.count() == sheets.MAX_FIRST


def test_an_image_is_zoomed(report: Path, open_file: OpenFile) -> None:
    page = open_file(report)
    images = page.locator(".mistakes .sheet img")
    dialog = page.get_by_role("dialog")

    images.nth(0).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")

    box = dialog.locator("img").bounding_box()
    assert box is not None
    assert box["width"] > 400
    assert dialog.locator("img").get_attribute("src") == images.nth(1).get_attribute("src")
    page.keyboard.press("ArrowLeft")
    assert dialog.locator("img").get_attribute("src") == images.nth(0).get_attribute("src")
    assert dialog.get_by_role("button", name="Previous").is_disabled()
    page.keyboard.press("Escape")
    assert dialog.count() == 0
    page.locator(".panel img").first.click()
    assert dialog.count() == 1


def test_controls_speak_the_language_of_their_page(birds: Case, tmp_path: Path, open_file: OpenFile) -> None:
    with language.spoken("zh"):
        (tmp_path / "report.html").write_text(birds.write_page(), encoding="utf-8")
    page = open_file(tmp_path / "report.html")
    assert re.search(r"(预测正确|被误认为)", page.locator(".panel [role=status]").inner_text())
    assert page.locator(".mistakes option").nth(0).inner_text() == "全部"
    assert "显示 40 / " in page.locator(".mistakes [role=status]").inner_text()
    page.locator(".mistakes .sheet img").first.click()
    assert page.locator("dialog.zoom button").all_inner_texts() == ["上一张", "下一张", "关闭"]


def test_the_image_whose_layers_are_shown_is_chosen_in_both_places(report: Path, open_file: OpenFile) -> None:
    page = open_file(report)
    seen = page.locator(".choice svg:visible")
    names = "pictures => pictures.map((each) => each.querySelector('[id]').id.split('-').slice(0, 2).join('-'))"
    assert seen.evaluate_all(names) == ["maps-0", "space-0"]

    page.locator(".choice").nth(1).get_by_role("button").nth(2).click()

    assert seen.evaluate_all(names) == ["maps-2", "space-2"]
    assert page.locator('.choice button[aria-pressed="true"]').count() == 2


def test_a_table_is_sorted_by_the_column_that_is_clicked(birds: Case, report: Path, open_file: OpenFile) -> None:
    page = open_file(report)
    page.get_by_text("All classes as a table").click()
    head = page.get_by_role("columnheader", name="accuracy", exact=True)
    column = page.locator("table", has=head).locator("tbody td:nth-child(3)")

    shares = sorted((f"{share:.2%}" for share in birds.findings.class_accuracy), key=lambda text: float(text[:-1]))
    head.get_by_role("button").click()
    assert column.all_inner_texts() == shares[::-1]
    assert head.get_attribute("aria-sort") == "descending"
    head.get_by_role("button").click()
    assert column.all_inner_texts() == shares


def test_text_in_charts_can_be_selected(report: Path, open_file: OpenFile) -> None:
    page = open_file(report)

    for words in ("epoch", "predicted class", "true class", "an uncommonl"):
        text = page.locator("svg text", has_text=words).first
        text.dblclick()  # through whatever lies above it
        assert page.evaluate("getSelection().toString().trim()") in text.inner_html()
        assert page.evaluate("getSelection().toString().trim()")


def test_without_scripts_nothing_is_missing(birds: Case, report: Path, open_file: OpenFile) -> None:
    page = open_file(report, java_script_enabled=False)

    assert page.locator("button, select, dialog").count() == 0
    assert page.locator(".mistakes li").count() == sheets.MAX_MISTAKES
    assert page.locator(".mistakes li:visible").count() == sheets.MAX_FIRST
    for folded in page.locator("summary").all():
        folded.click()
    assert page.locator(".mistakes li:visible").count() == sheets.MAX_MISTAKES
    assert page.locator("svg:visible").count() == page.locator("svg").count() == 7 + 2 * len(birds.recordings)
    assert f"Of {len(birds.findings.mistakes)} mistakes this page holds {sheets.MAX_MISTAKES}" in page.inner_text(
        "body"
    )


def test_no_other_script_runs(report: Path, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(report.as_uri())

    page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'window.wasRun = 1'}))")

    assert page.evaluate("window.wasRun") is None
    page.close()


@pytest.mark.parametrize("scripts", [True, False])
def test_a_phone_shows_the_page_within_its_width(report: Path, open_file: OpenFile, scripts: bool) -> None:
    page = open_file(report, viewport=PHONE, java_script_enabled=scripts)
    for folded in page.locator("summary").all():
        folded.click()

    assert_within_width(page)
    if scripts:
        rest(page, CURVE, 0.5, 0.3)
        assert_within_width(page)
        page.locator(".mistakes img").first.click()
        box = page.get_by_role("dialog").bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= PHONE["width"]
        assert_within_width(page)


def assert_within_width(page: Page) -> None:
    """Nothing of the page lies beside the screen but what scrolls in a box of its own."""
    assert page.locator("html").evaluate("root => root.scrollWidth") == PHONE["width"]
    for box in page.locator("section > *:visible, .scroll:visible, .lead > *:visible").all():
        found = box.bounding_box()
        assert found is not None
        assert found["x"] + found["width"] <= PHONE["width"], box.evaluate("each => each.outerHTML.slice(0, 200)")


def test_dark_screens_get_light_text(report: Path, open_file: OpenFile) -> None:
    page = open_file(report, color_scheme="dark")

    def lightness(selector: str, of: str) -> float:
        colour = page.locator(selector).first.evaluate(f"each => getComputedStyle(each).{of}")
        return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3

    rest(page, CURVE, 0.5, 0.5)
    assert lightness("body", "backgroundColor") < 60
    for selector, of in (("svg text", "fill"), (".tip", "color"), ("select", "color"), ("th button", "color")):
        assert lightness(selector, of) > 160
    for selector in (".tip", "select"):
        assert lightness(selector, "backgroundColor") < 60


def test_paper_shows_the_page_without_its_controls(report: Path, open_file: OpenFile) -> None:
    page = open_file(report)

    page.emulate_media(media="print")

    assert page.locator("select:visible, nav:visible, .panel:visible, .choice button:visible").count() == 0
    assert page.locator("svg:visible").count() == 9
    assert page.locator(".mistakes li:visible").count() == sheets.MAX_FIRST


def test_comparison_answers_too(birds: Case, tmp_path: Path, open_file: OpenFile) -> None:
    second = make_case(tmp_path, LABELS[:3], name="other", history=HISTORY[:2])
    folders = [each.write_json(tmp_path) for each in (birds, second)]
    path = compare(folders, tmp_path / "compare.html", lambda folder, name: birds.dataset)
    page = open_file(path)

    rest(page, CURVE, 0.01, 0.5)
    assert re.split(r"\s*\n\s*", page.locator(".tip").inner_text()) == [
        "epoch 1",
        "bird-net version 1 2",
        "other version 1 2",
    ]
    rest(page, MATRIX, 0.1, 0.1, click=True)
    assert "true crow, predicted crow" in page.locator(".tip").inner_text()
    assert page.locator(".panel").count() == 0  # it has no images


def test_what_holds_for_everybody(report: Path, open_file: OpenFile) -> None:
    """axe finds nothing that keeps people from using the page."""
    axe = Path(str(pytest.importorskip("axe_playwright_python").__file__)).parent / "axe.min.js"
    page = open_file(report)

    page.evaluate(axe.read_text())
    found = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]

    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in found] == []
