"""The page in a headless Chromium, as its visitors use it, before real servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.page.networks import write_digits
from tests.reports.pages import CHROMIUM
from tests.server.conftest import Server, StartServer, running_servers

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TIMEOUT_MS = 30_000


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """For one module only: while Playwright runs, tests of this thread cannot use asyncio."""
    pytest.importorskip("playwright", reason="needs playwright")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=TIMEOUT_MS)
    flags = ["--no-sandbox", "--disable-dev-shm-usage"]
    flags += ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield found
        found.close()


class Visit:
    """A tab before one server, and what went wrong in it."""

    def __init__(self, page: Page, port: int) -> None:
        self.page = page
        self.url = f"http://127.0.0.1:{port}"
        self.errors: list[str] = []
        self.elsewhere: list[str] = []
        page.on("console", lambda message: self._hear(message.type, message.text))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._look)

    def open(self, view: str = "try") -> Page:
        """Shows a view, and waits until it is drawn."""
        self.page.goto(f"{self.url}/#{view}")
        self.page.wait_for_selector(f".view-{view} h1")
        return self.page

    def _hear(self, kind: str, text: str) -> None:
        # On a busy machine explanations give way to serving, and Chromium reports each refusal; the page asks again. It
        # does so too where Chromium drops its connections as a network of this machine came or went (those of Docker).
        if kind == "error" and not any(known in text for known in ("429 (Too Many Requests)", "ERR_NETWORK_CHANGED")):
            self.errors.append(text)

    def _look(self, request: object) -> None:
        url = str(request.url)  # type: ignore[attr-defined]
        if not url.startswith((self.url, "data:", "blob:")):
            self.elsewhere.append(url)


OpenTab = Callable[[Server], Visit]


@pytest.fixture
def visit(browser: Browser) -> Iterator[OpenTab]:
    """Opens tabs. None may ask another server for anything, nor leave an error in the console that the test has not
    taken out of `errors`."""
    visits: list[Visit] = []
    contexts = []

    def open_tab(server: Server) -> Visit:
        context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en", permissions=["camera"])
        context.set_default_timeout(TIMEOUT_MS)
        contexts.append(context)
        visits.append(Visit(context.new_page(), server.http_port))
        return visits[-1]

    yield open_tab
    for context in contexts:
        context.close()
    assert [each.elsewhere for each in visits if each.elsewhere] == []
    assert [each.errors for each in visits if each.errors] == []


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    """For tests that need a server of their own."""
    with running_servers("native") as start:
        yield start


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with a network that reads digits."""
    folder = tmp_path_factory.mktemp("digits")
    write_digits(folder)
    return folder


@pytest.fixture(scope="module")
def digit_server(digits: Path) -> Iterator[Server]:
    """One server for all tests of a module that only ask it."""
    with running_servers("native") as start:
        yield start(digits)
