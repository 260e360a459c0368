"""Models: what is served, what is refused and why, and a report that may be anybody's file."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from playwright.sync_api import expect
from tests.conftest import WriteModel
from tests.page.conftest import OpenTab
from tests.page.test_frame import use_token
from tests.server.conftest import StartServer
from tests.server.http.asking import ask
from tests.server.observability.test_canaries import state
from tests.waiting import wait_until

TOKEN = "a-token-of-some-length"
REPORT = """<!doctype html><html><head><style>:root { --x: red } body { color: rgb(1, 2, 3) }</style>
<script>window.wasRun = 1</script></head><body><h1 onclick="window.wasRun = 2">A report</h1>
<p style="color: rgb(4, 5, 6)">with style="quotes"</p><img src="http://127.0.0.1:1/spy.png" onerror="window.wasRun = 3">
<iframe src="/v1/models"></iframe><a href="javascript:window.wasRun = 4">go</a><a href="#end">to the end</a>
<form action="/v2/repository/models/echo/unload" method="post"></form><h2 id="end">End</h2></body></html>"""


def test_what_is_served_and_what_is_refused(
    tmp_path: Path, write_echo_model: WriteModel, start_server: StartServer, visit: OpenTab
) -> None:
    write_echo_model(tmp_path, "echo")
    write_echo_model(tmp_path, "skewed", wrong_golden=True)
    server = start_server(tmp_path)
    page = visit(server).open("models")
    page.locator(".model", has_text="skewed").click()
    reason = next(
        each["reason"] for each in ask(server.http_port, "GET", "/v1/models").json["models"] if each["name"] == "skewed"
    )
    assert page.locator(".detail .problem").inner_text() == reason
    expect(page.locator(".model", has_text="skewed").locator(".pill")).to_have_text("refused")
    page.locator(".model", has_text="echo").click()
    detail = page.locator(".detail")
    for text in ("echo", "4 \u00d7 4", "class 3", "passed; largest difference"):
        expect(detail).to_contain_text(text)


def test_what_versions_are_chosen_for(
    tmp_path: Path, write_echo_model: WriteModel, start_server: StartServer, visit: OpenTab
) -> None:
    for version, options in enumerate(({}, {"classes": 9}, {}), 1):
        write_echo_model(tmp_path, "echo", version=version, **options)
    for which, number in (("default", 1), ("canary", 2), ("shadow", 3)):
        (tmp_path / "echo" / f"{which}-version").write_text(str(number))
    server = start_server(tmp_path)
    wait_until(lambda: state(server) == "rolled_back")
    page = visit(server).open("models")
    for number, marks in enumerate(("default", "canary, rolled back", "shadow"), 1):
        entry = page.locator(".model", has_text=f"echo {number}")
        expect(entry.locator(".name .pill")).to_have_text(marks)
    page.locator(".model", has_text="echo 2").click()
    expect(page.locator(".detail")).to_contain_text(
        "canary, rolled back: its labels are not those of version 1: 9 labels instead of 10"
    )


def test_a_report_is_shown_and_does_nothing(
    tmp_path: Path, write_echo_model: WriteModel, start_server: StartServer, visit: OpenTab
) -> None:
    folder = write_echo_model(tmp_path).parent
    (folder / "report.html").write_text(REPORT)
    (folder / "MODEL_CARD.md").write_text("# Card\n\nIt is **bold**.\n\n| a | b |\n| - | - |\n| 1 | <b>2</b> |\n")
    tab = visit(start_server(tmp_path))
    page = tab.open("models")
    page.get_by_role("button", name="Training report").click()
    body = page.locator(".report-body")
    expect(body.locator("h1")).to_have_text("A report")
    assert body.locator("script, iframe, form, style, link").count() == 0
    assert body.locator("p").evaluate("p => getComputedStyle(p).color") == "rgb(4, 5, 6)"
    assert body.evaluate("body => getComputedStyle(body).color") == "rgb(1, 2, 3)"
    body.locator("h1").click()
    body.get_by_text("to the end").click()
    assert page.evaluate("window.wasRun") is None
    assert page.url.endswith("#models")
    tab.elsewhere.clear()  # the picture was asked for, and the policy has refused it
    assert any("Content Security Policy" in each for each in tab.errors)
    tab.errors.clear()
    page.get_by_role("button", name="Model card").click()
    expect(page.locator(".markdown strong")).to_have_text("bold")
    expect(page.locator(".markdown td").nth(1)).to_have_text("<b>2</b>")


INTERACTIVE = """<!doctype html><h1>A report</h1><script>
document.querySelector("h1").textContent = `${self.origin} ran`;
fetch("/v1/models").then(() => (document.title = "answered"), () => (document.title = "refused"));
</script>"""


def test_a_report_by_itself_runs_its_script_and_reaches_nothing(
    tmp_path: Path, write_echo_model: WriteModel, start_server: StartServer, visit: OpenTab
) -> None:
    (write_echo_model(tmp_path).parent / "report.html").write_text(INTERACTIVE)
    page = visit(start_server(tmp_path)).open("models")
    page.get_by_role("button", name="Training report").click()
    with page.expect_popup() as opened:
        page.get_by_role("link", name="Open with its controls").click()
    expect(opened.value.locator("h1")).to_have_text("null ran")
    expect(opened.value).to_have_title("refused")


def test_where_tokens_are_wanted_a_report_is_saved(
    tmp_path: Path, write_echo_model: WriteModel, start_server: StartServer, visit: OpenTab
) -> None:
    tokens, models = tmp_path / "tokens", tmp_path / "models"
    tokens.write_text(f"{TOKEN}\n")
    tokens.chmod(0o600)
    (write_echo_model(models).parent / "report.html").write_text(INTERACTIVE)
    tab = visit(start_server(models, auth_token_file=str(tokens)))
    page = tab.open()
    use_token(page, TOKEN)
    page = tab.open("models")
    page.get_by_role("button", name="Training report").click()
    with page.expect_download() as saved:
        page.get_by_role("link", name="Save with its controls").click()
    assert saved.value.suggested_filename == "echo-1-report.html"
    assert Path(saved.value.path()).read_text() == INTERACTIVE
    tab.errors.clear()  # what was asked for before the token was given


def test_confusion_and_calibration_of_a_report(
    tmp_path: Path, write_echo_model: WriteModel, start_server: StartServer, visit: OpenTab
) -> None:
    folder = write_echo_model(tmp_path, classes=3).parent
    found = {
        "labels": ["cat", "dog", "fox"],
        "confusion": [[0, 0, 8], [0, 1, 2], [1, 1, 9], [2, 2, 7]],
        "calibration": {"bins": [{"low": 0.5, "high": 1, "images": 26, "confidence": 0.9, "accuracy": 0.92}]},
    }
    (folder / "report.json").write_text(json.dumps(found))
    page = visit(start_server(tmp_path)).open("models")
    expect(page.locator(".confusion tbody tr").first.locator("td").nth(1)).to_have_text("2")
    expect(page.locator(".detail")).to_contain_text("Calibration")


def test_a_server_that_lost_its_models_says_so(
    tmp_path: Path, write_echo_model: WriteModel, start_server: StartServer, visit: OpenTab
) -> None:
    write_echo_model(tmp_path, "echo")
    write_echo_model(tmp_path, "other", shape=(8, 8, 3))
    page = visit(start_server(tmp_path, reload_interval_s=0.1)).open("models")
    expect(page.locator(".model")).to_have_count(2)
    shutil.rmtree(tmp_path / "other")
    expect(page.locator(".model")).to_have_count(1, timeout=30_000)  # the page looks every ten seconds


HOSTILE = """<style>:host { position: fixed !important; inset: 0 !important; z-index: 99 }</style>
<div id="cover" style="position: fixed; inset: 0; z-index: 999; background: #fff">The server wants your token</div>
<a href="java&#10;script:window.wasRun = 1">a</a><a href="&#1; javascript:window.wasRun = 2">a</a>
<a href="java&#9;script:window.wasRun = 3" ping="/v1/about">a</a><a href="vbscript:window.wasRun = 4">a</a>
<svg width="9" height="9"><a xlink:href="java&#13;script:window.wasRun = 5"><text y="9">a</text></a>
<a><animate attributeName="href" values="javascript:window.wasRun = 6"/><text y="9">a</text></a>
<script>window.wasRun = 7</script></svg><scr<style></style>ipt>window.wasRun = 8</script>
<button formaction="javascript:window.wasRun = 9">a</button><details open ontoggle="window.wasRun = 10"></details>
<object data="/v1/about"></object><noscript><p title="</noscript><img src=x onerror=window.wasRun=11>"></noscript>
<math><mtext><table><mglyph><style><img src onerror="window.wasRun = 12"></style></mglyph></table></mtext></math>
<p id="end">End</p>"""


def test_a_report_keeps_to_its_place_and_has_no_way_to_a_script(
    tmp_path: Path, write_echo_model: WriteModel, start_server: StartServer, visit: OpenTab
) -> None:
    folder = write_echo_model(tmp_path).parent
    (folder / "report.html").write_text(HOSTILE)
    tab = visit(start_server(tmp_path))
    page = tab.open("models")
    page.get_by_role("button", name="Training report").click()
    body = page.locator(".report-body")
    expect(body.locator("#end")).to_have_text("End")
    urls = body.evaluate(
        "body => [...body.querySelectorAll('*')].flatMap(each => [...each.attributes]).map(each => each.value)"
    )
    plain = [re.sub(r"[\x00-\x20]", "", each) for each in urls]
    assert [each for each in plain if each.startswith(("javascript:", "vbscript:"))] == []
    for link in body.locator("a, button").all():
        link.dispatch_event("click")
    assert page.evaluate("window.wasRun") is None
    # What a visitor sees of the page itself is the page's own: a report cannot lie over it.
    covered = page.evaluate(
        "() => [[5, 5], [640, 20], [1270, 890]].map(([x, y]) => document.elementFromPoint(x, y)?.closest('.report'))"
    )
    assert covered == [None] * 3
    tab.elsewhere.clear()
    tab.errors.clear()
