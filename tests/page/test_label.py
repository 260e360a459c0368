"""The page of `covey label` in a browser, by keys and buttons."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from tests.clients.labelling.captured import places, serving_page

from covey.labelling.page import LabelPage

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture
def label_page(tmp_path: Path) -> Iterator[LabelPage]:
    with serving_page(tmp_path / "lenet") as page:
        yield page


@pytest.fixture
def tab(browser: Browser, label_page: LabelPage) -> Iterator[Page]:
    context = browser.new_context(locale="en")
    errors: list[str] = []
    tab = context.new_page()
    tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto(label_page.url)
    yield tab
    context.close()
    assert errors == []


def test_keys_label_undo_and_discard(label_page: LabelPage, tab: Page) -> None:
    folder = label_page.captures.folder
    expect(tab.locator("#predicted")).to_have_text("predicted: cat, 21.0 % sure; kept because the model was not sure")
    expect(tab.locator("#count")).to_have_text("0 of 4 labelled")
    assert (
        tab.evaluate(
            "document.getElementById('image').decode().then(() => document.getElementById('image').naturalWidth)"
        )
        == 4
    )
    tab.keyboard.press("3")
    expect(tab.locator("#predicted")).to_have_text("predicted: dog, 31.2 % sure; kept because the model was not sure")
    tab.keyboard.press("Space")
    expect(tab.locator("#count")).to_have_text("2 of 4 labelled")
    tab.keyboard.press("d")
    expect(tab.locator("#count")).to_have_text("3 of 4 labelled")
    assert places(folder) == {0: "dog", 1: "dog", 2: ".discarded", 3: "bird_bat"}
    tab.keyboard.press("u")
    expect(tab.locator("#predicted")).to_have_text("predicted: cat, 50.0 % sure; kept because the model was not sure")
    assert places(folder)[2] == "cat"

    tab.keyboard.press("/")
    tab.keyboard.type("bat")
    expect(tab.locator("#classes button")).to_have_count(1)
    tab.keyboard.press("Enter")
    expect(tab.locator("#count")).to_have_text("3 of 4 labelled")
    assert places(folder)[2] == "bird_bat"
    tab.locator("#classes button", has_text="cat").click()
    expect(tab.locator("#message")).to_contain_text("All images are labelled")
    assert places(folder) == {0: "dog", 1: "dog", 2: "bird_bat", 3: "cat"}
    tab.locator("#quit").click()
    expect(tab.locator("#message")).to_contain_text("Ended")
