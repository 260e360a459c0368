"""What all views share: tokens, a server that goes and comes back, languages, sizes, what assistive technology sees."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from playwright.sync_api import expect
from tests.conftest import WriteModel
from tests.page.conftest import OpenTab, Visit
from tests.page.test_try import give, picture
from tests.server.conftest import Server, StartServer, running_servers
from tests.server.http.asking import ask

from covey_server.protocols.rest.static import PAGES

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

MAX_PAGE_BYTES = 300_000
NAMELESS = """() => [...document.querySelectorAll("a, button, input, select, canvas, img, svg, [role=group]")]
    .filter((each) => each.checkVisibility() && !each.closest("[aria-hidden=true]"))
    .filter((each) => !(each.getAttribute("aria-label") || each.title || each.innerText?.trim() || each.labels?.length
                        || each.alt !== undefined && each.hasAttribute("alt")))
    .filter((each) => !(each.tagName === "CANVAS" && each.closest("[role=img]")))
    .map((each) => each.outerHTML.slice(0, 120))"""
VIEWS = ("try", "inside", "watch", "models")


def use_token(page: Page, token: str) -> None:
    """Gives a valid token, and waits for the view that is shown anew with it: what is dropped before is lost."""
    before = page.locator(".zone").element_handle()
    page.locator("#token").fill(token)
    page.get_by_role("button", name="Use it").click()
    before.wait_for_element_state("hidden")


def test_without_a_token_the_page_asks_for_one(
    tmp_path: Path, write_echo_model: WriteModel, start_server: StartServer, visit: OpenTab
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("first-secret-token\n")
    tokens.chmod(0o600)
    write_echo_model(tmp_path / "models")
    tab = visit(start_server(tmp_path / "models", auth_token_file=str(tokens)))
    page = tab.open()
    field = page.locator("#token")
    field.fill("wrong")
    page.get_by_role("button", name="Use it").click()
    expect(page.locator(".notice.token")).to_contain_text("no token of this server")
    use_token(page, "first-secret-token")
    expect(page.locator("#choose-model")).to_be_visible()
    give(page, {"a.jpg": picture()})
    page.locator(".result .bars").wait_for()
    assert page.evaluate("localStorage.getItem('covey-token')") is None
    # The token is taken back while the page is open.
    tokens.write_text("second-secret-token\n")
    expect(field).to_be_visible(timeout=30_000)  # the page looks every ten seconds
    use_token(page, "second-secret-token")
    expect(page.locator(".state-ready")).to_be_visible()
    give(page, {"b.jpg": picture()})
    expect(page.locator(".result .bars")).to_have_count(2)
    assert tab.errors  # the browser reports each 401
    assert all("401" in each for each in tab.errors)
    tab.errors.clear()


def test_the_server_goes_and_comes_back(
    tmp_path: Path, write_echo_model: WriteModel, start_server: StartServer, visit: OpenTab
) -> None:
    write_echo_model(tmp_path)
    with running_servers("native") as start:
        server = start(tmp_path)
        tab = visit(server)
        page = tab.open("watch")
        expect(page.locator("[data-figure=rate] dd")).to_have_text("0")
    expect(page.locator(".notice.bad")).to_contain_text("does not answer")
    start_server(tmp_path, http_port=server.http_port)
    expect(page.locator(".notice.bad")).to_have_count(0)
    expect(page.locator(".state-ready")).to_be_visible()
    page.get_by_role("link", name="Try").click()
    give(page, {"a.jpg": picture()})
    page.locator(".result .bars").wait_for()
    forgive_lost_connections(tab)


def left_behind(models: Path, visit: OpenTab) -> tuple[Visit, int]:
    """A tab whose server has stopped, and the server's port."""
    with running_servers("native") as start:
        server = start(models)
        tab = visit(server)
        expect(tab.open().locator("#choose-model")).to_have_value("echo")
    return tab, server.http_port


def forgive_lost_connections(tab: Visit) -> None:
    """The browser reports each failed connection, and what a stopping server refuses; nothing else may have failed."""
    assert all("ERR_" in each or "503" in each for each in tab.errors), tab.errors
    tab.errors.clear()


def test_what_was_asked_while_the_server_was_gone_is_asked_again(
    tmp_path: Path, write_echo_model: WriteModel, start_server: StartServer, visit: OpenTab
) -> None:
    write_echo_model(tmp_path)
    tab, port = left_behind(tmp_path, visit)
    give(tab.page, {"a.jpg": picture()})
    expect(tab.page.locator(".result .problem")).to_contain_text("does not answer")
    start_server(tmp_path, http_port=port)
    tab.page.locator(".result .bars").wait_for()
    forgive_lost_connections(tab)


def test_a_view_that_is_opened_while_the_server_is_gone_comes_with_it(
    tmp_path: Path, write_echo_model: WriteModel, start_server: StartServer, visit: OpenTab
) -> None:
    write_echo_model(tmp_path)
    tab, port = left_behind(tmp_path, visit)
    tab.page.get_by_role("link", name="Models").click()
    expect(tab.page.locator("main .empty")).to_contain_text("does not answer")
    start_server(tmp_path, http_port=port)
    expect(tab.page.locator(".detail h2")).to_contain_text("echo")
    forgive_lost_connections(tab)


def test_the_page_can_be_left_out(tmp_path: Path, write_echo_model: WriteModel, start_server: StartServer) -> None:
    write_echo_model(tmp_path)
    server = start_server(tmp_path, page=False)
    assert ask(server.http_port, "GET", "/").status == 404
    assert ask(server.http_port, "GET", "/page/main.js").status == 404
    assert ask(server.http_port, "GET", "/v1/models").status == 200


def test_the_page_is_small() -> None:
    assert sum(path.stat().st_size for path in (PAGES / "app").iterdir()) < MAX_PAGE_BYTES


def test_both_languages_have_the_same_texts(
    tmp_path: Path, write_echo_model: WriteModel, start_server: StartServer, visit: OpenTab
) -> None:
    write_echo_model(tmp_path)
    page = visit(start_server(tmp_path)).open()
    keys = """async (name) => Object.entries((await import(`/page/${name}.js`)).default)
        .map(([key, text]) => [key, [...text.matchAll(/\\{\\w+\\}/g)].map(String).sort().join()])"""
    assert page.evaluate(keys, "en") == page.evaluate(keys, "zh")
    page.get_by_label("Language").select_option("zh")
    for view, title in zip(VIEWS, ("试用模型", "查看内部", "监控", "模型"), strict=True):
        page.goto(f"{page.url.partition('#')[0]}#{view}")
        expect(page.locator("h1")).to_have_text(title)
    assert page.locator("html").get_attribute("lang") == "zh-Hans"


@pytest.mark.parametrize("widths", [(390, 768), (1440, 2560)])
def test_no_view_is_wider_than_the_window_and_everything_has_a_name(
    tmp_path: Path, write_echo_model: WriteModel, start_server: StartServer, visit: OpenTab, widths: tuple[int, int]
) -> None:
    write_echo_model(tmp_path)
    write_echo_model(tmp_path, "skewed", wrong_golden=True)
    tab = visit(start_server(tmp_path))
    for view in VIEWS:
        tab.page.set_viewport_size({"width": widths[0], "height": 900})
        page = tab.open(view)
        if view == "try":
            give(page, {"a-rather-long-name-of-a-file-from-a-camera-2026-11-29.jpg": picture()})
            page.locator(".result .seen canvas").wait_for()
        if view == "inside":
            page.set_input_files("#inside-file", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": picture()})
            page.locator(".answer .bars").wait_for()
        for width in widths:
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, view
            assert page.evaluate(NAMELESS) == [], view


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(browser: Browser, digit_server: Server, theme: Literal["light", "dark"]) -> None:
    axe = Path(str(pytest.importorskip("axe_playwright_python").__file__)).parent / "axe.min.js"
    # The policy of the page keeps a tester's script out too.
    context = browser.new_context(color_scheme=theme, bypass_csp=True, viewport={"width": 1280, "height": 900})
    tab = Visit(context.new_page(), digit_server.http_port)
    for view in VIEWS:
        page = tab.open(view)
        expect(page.locator(".state-ready")).to_be_visible()
        if view == "try":
            give(page, {"a.jpg": picture(), "b.jpg": b"no image"})
            page.locator(".result .seen canvas").wait_for()
            page.get_by_role("button", name="Draw").click()
            page.get_by_text("As code").click()
            page.locator("pre").wait_for()
        if view == "inside":
            page.set_input_files("#inside-file", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": picture()})
            page.locator(".answer .bars").wait_for()
            page.locator(".layer-view canvas").first.click()
            page.locator(".equation").wait_for()
            page.get_by_role("button", name="In 3D").click()
            page.locator(".plane").first.wait_for()
        if view == "watch":
            page.locator("table").wait_for()
        page.evaluate(axe.read_text())
        found = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
        assert [(each["id"], each["nodes"][0]["html"]) for each in found] == [], view
    context.close()


def test_views_are_reached_by_the_keyboard(
    tmp_path: Path, write_echo_model: WriteModel, start_server: StartServer, visit: OpenTab
) -> None:
    write_echo_model(tmp_path)
    page = visit(start_server(tmp_path)).open()
    expect(page.locator("#choose-model")).to_be_visible()
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "choose-model"
    page.locator("#nav a").first.focus()
    page.keyboard.press("Tab")
    assert focused(page) == "Look inside"
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Look inside")


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.innerText"))
