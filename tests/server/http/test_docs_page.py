"""The page /docs in a real browser: what it shows is what the server does."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import WriteModel
from tests.server.conftest import Server, StartServer
from tests.server.http.asking import EXPECTED, PIXELS, ask, png
from tests.server.http.browser import CHROMIUM, Page, browsing

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
READY = "document.body && document.body.dataset.ready"
CLASSIFY = "#post_v1_models_model_classify"
TOKEN = "a-token-of-32-characters-or-more-123"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browsing(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "image.jpg"  # as the curl lines call it
    path.write_bytes(png(PIXELS[4]))
    return path


def show(page: Page, port: int) -> None:
    page.complaints.clear()
    page.open("about:blank")
    page.open(f"http://127.0.0.1:{port}/docs", READY)
    assert page.complaints == []


def answer_to(page: Page, operation: str) -> str:
    """Presses "Send" and reads what came."""
    page.evaluate(f"document.querySelector('{operation} .answer').replaceChildren()")
    page.evaluate(f"document.querySelector('{operation} button').click()")
    page.wait_for(f"document.querySelector('{operation} .answer').textContent")
    return str(page.evaluate(f"document.querySelector('{operation} .answer').textContent"))


def fill(page: Page, selector: str, value: str) -> None:
    """Types into a field, and leaves it."""
    events = "for (const name of ['input', 'change']) field.dispatchEvent(new Event(name, {bubbles: true}))"
    found = f"const field = document.querySelector('{selector}'); field.value = {json.dumps(value)}"
    page.evaluate(f"(() => {{ {found}; {events} }})()")


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_each_operation_is_there_and_its_curl_line_works(server: Server, page: Page, picture: Path) -> None:
    show(page, server.http_port)
    document = ask(server.http_port, "GET", "/openapi.json").json
    lines = page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('details')].map("
        "each => [each.id, each.querySelector('.curl').textContent]))"
    )
    ids = {
        each["operationId"]
        for methods in document["paths"].values()
        for name, each in methods.items()
        if name != "parameters"
    }
    assert lines.keys() == ids
    # Loading and choosing are off, and no card lies beside the model.
    managing = ("load", "promote", "rollback", "canary", "shadow")
    other = {operation: "403" for operation in ids if operation.endswith(managing)}
    other["get_v1_models_model_files_file"] = "404"
    del lines["get_v1_watch"]  # goes on until somebody ends it
    for operation in [each for each in lines if "_Classifier_" in each or "_Health_" in each]:
        assert "'Content-Type: application/x-protobuf'" in lines.pop(operation)  # curl has no message to send
    for operation, line in lines.items():
        assert line.startswith("curl "), line
        command = line.replace("curl ", "curl -s -o answer -w '%{http_code}' ", 1)
        run = subprocess.run(
            ["bash", "-euc", command], cwd=picture.parent, capture_output=True, text=True, timeout=60, check=True
        )
        assert run.stdout == other.get(operation, "200"), line


def test_a_file_is_sent_and_its_answer_shown(server: Server, page: Page, picture: Path) -> None:
    show(page, server.http_port)
    assert answer_to(page, CLASSIFY) == "Choose a file first."
    page.choose_file(f"{CLASSIFY} input[type=file]", picture)
    fill(page, f"{CLASSIFY} [data-name=top_k]", "1")
    best = f'"label": "class {EXPECTED[4].argmax()}"'
    for kind in ("application/octet-stream", "multipart/form-data"):
        fill(page, f"{CLASSIFY} select", kind)
        answer = answer_to(page, CLASSIFY)
        assert answer.startswith("200 OK"), answer
        assert best in answer
    fill(page, f"{CLASSIFY} select", "application/json")
    answer = answer_to(page, CLASSIFY)
    assert "'top_k' is in the query and in the JSON" in answer
    fill(page, f"{CLASSIFY} [data-name=top_k]", "")
    assert answer_to(page, CLASSIFY).startswith("200 OK")


def test_what_the_server_says_is_shown_as_text(server: Server, page: Page) -> None:
    show(page, server.http_port)
    hostile = "<img src=x onerror=\"document.title = 'taken over'\">"
    fill(page, "#get_v1_models_model [data-name=model]", hostile)
    answer = answer_to(page, "#get_v1_models_model")
    assert answer.startswith("404 Not Found")
    assert "<img src=x onerror=" in answer
    assert page.evaluate("document.querySelectorAll('img').length") == 0


def test_the_policy_stops_scripts_that_get_in_and_calls_that_would_get_out(server: Server, page: Page) -> None:
    show(page, server.http_port)
    page.evaluate(
        "(() => { const script = document.createElement('script'); script.textContent = 'window.ran = 1';"
        " document.body.append(script) })()"
    )
    assert page.evaluate("window.ran === undefined")
    other = f"http://localhost:{server.http_port}/healthz"
    assert (
        page.evaluate(f"fetch('{other}', {{mode: 'no-cors'}}).then(() => 'sent', error => error.name)") == "TypeError"
    )
    assert any("Content Security Policy" in each for each in page.complaints)


def test_with_a_token_the_visitor_gives_it(
    start_server: StartServer, tmp_path: Path, write_echo_model: WriteModel, page: Page
) -> None:
    write_echo_model(tmp_path / "models")
    (tmp_path / "tokens").write_text(f"{TOKEN}\n")
    server = start_server(tmp_path / "models", auth_token_file=str(tmp_path / "tokens"))
    page.open(f"http://127.0.0.1:{server.http_port}/docs", READY)
    curl = "document.querySelector('#get_v1_models_model .curl').textContent"
    assert answer_to(page, "#get_v1_models").startswith("401 Unauthorized")
    assert page.evaluate(curl).endswith("/v1/models/NAME")
    fill(page, "#token", TOKEN)
    page.wait_for(f"{curl}.endsWith('/v1/models/echo')")
    assert page.evaluate(curl).startswith('curl -H "Authorization: Bearer $TOKEN" http')
    assert TOKEN not in page.evaluate("document.body.textContent")
    assert answer_to(page, "#get_v1_models").startswith("200 OK")
