"""Watch: figures while there is load, and a reload as a mark."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import expect
from tests.conftest import WriteModel
from tests.page.conftest import OpenTab
from tests.server.conftest import StartServer
from tests.server.http.asking import PIXELS, ask, png


@contextmanager
def load(port: int) -> Iterator[None]:
    """Requests one after another, of which each tenth is wrong, until the end."""
    ended = threading.Event()

    def run() -> None:
        body, count = png(PIXELS[0]), 0
        while not ended.wait(0.005):  # the pause between two requests
            count += 1
            ask(port, "POST", "/v1/models/echo/classify", body if count % 10 else b"wrong")

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_figures_are_live_and_a_reload_is_a_mark(
    tmp_path: Path, write_echo_model: WriteModel, start_server: StartServer, visit: OpenTab
) -> None:
    write_echo_model(tmp_path)
    server = start_server(tmp_path, reload_interval_s=0.1)
    page = visit(server).open("watch")
    expect(page.locator("[data-figure=rate] dd")).to_have_text("0")
    with load(server.http_port):
        expect(page.locator("[data-figure=rate] dd")).not_to_have_text("0")
        expect(page.locator("[data-figure=errors] dd")).not_to_have_text("0")
        for figure in ("p50", "p99", "batch"):
            expect(page.locator(f"[data-figure={figure}] dd")).to_contain_text(re.compile(r"\d"))
        expect(page.locator("[data-chart=latency] .line").first).to_have_attribute("d", re.compile("L"))
        write_echo_model(tmp_path, version=2)
        expect(page.locator("[data-chart=rate] .mark").first).to_contain_text("echo loaded")
        expect(page.locator("table tbody tr").first).to_contain_text("2")
    page.locator("#watch-model").select_option("echo")
    expect(page.locator("[data-chart]")).to_have_count(6)


def test_a_charts_ticks_are_evenly_spaced_as_written(
    tmp_path: Path, write_echo_model: WriteModel, start_server: StartServer, visit: OpenTab
) -> None:
    write_echo_model(tmp_path)
    page = visit(start_server(tmp_path)).open("watch")
    for most in (0.004, 0.01, 0.07, 0.7, 7, 11, 70):
        ticks = page.evaluate(
            """async (most) => {
                const { timeChart } = await import("/page/charts.js");
                const place = document.createElement("div");
                timeChart(place, {title: "", unit: "", lines: [{name: "", tone: "", values: [most]}], length: 2});
                return [...place.querySelectorAll(".grid + .tick")].map((each) => Number(each.textContent));
            }""",
            most,
        )
        assert ticks == pytest.approx([number * ticks[1] for number in range(len(ticks))])
        assert ticks[-1] >= most


def test_the_figures_are_those_of_metrics(
    tmp_path: Path, write_echo_model: WriteModel, start_server: StartServer, visit: OpenTab
) -> None:
    write_echo_model(tmp_path)
    server = start_server(tmp_path)
    page = visit(server).open("watch")
    expect(page.locator("[data-figure=rate] dd")).to_have_text("0")
    ask(server.http_port, "POST", "/v1/models/echo/classify", png(PIXELS[0]))
    drawn = page.evaluate(
        """async () => {
            const {moment} = await import("/page/figures.js");
            const family = (rows) => ({labels: ["model", "version", "code"], rows});
            const seconds = (counts, sum) =>
                ({labels: ["model", "version"], bounds: ["0.001", "0.002", "+Inf"], rows: [["m", "1", counts, sum]]});
            const before = {time: 10, covey_requests: family([["m", "1", "OK", 5], ["m", "1", "INTERNAL", 1]]),
                            covey_request_seconds: seconds([1, 1, 1], 0.001)};
            const after = {time: 12, covey_requests: family([["m", "1", "OK", 25], ["m", "1", "INTERNAL", 3]]),
                           covey_request_seconds: seconds([1, 11, 11], 0.016)};
            return moment(before, after, {model: "m", version: "1"});
        }"""
    )
    assert (drawn["perSecond"], drawn["errors"]) == (11, 1)
    assert drawn["p50"] == 1.5
