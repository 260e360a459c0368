"""How many servers a rate needs: the simulated server against queueing theory, and `covey plan` with a real server."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import WriteModel

from covey import cli
from covey_load import capacity, sizing, validity
from covey_load.cli import sizing as command
from covey_load.sizing import BURST_US, Server, Unreachable, memory_bytes, size

from .test_real_server import Server as Running
from .test_real_server import started

CURVE = [(1, 50.0), (8, 120.0), (32, 400.0)]
LENET = Server(CURVE, 32, 2)
ONE_BY_ONE = Server([(1, 1000 - BURST_US)], 1, 1, call_us=0.0)  # 1 ms each, one after the other


@pytest.mark.parametrize("busy", [0.2, 0.5, 0.8])
def test_calls_that_share_no_batch_wait_as_queueing_theory_says(busy: float) -> None:
    """M/D/1: on average 1 + busy / (2 (1 - busy)) times their own time (Pollaczek and Khinchine)."""
    took_ms = ONE_BY_ONE.latencies_ms(busy * 1000, calls=200_000)
    assert took_ms.mean() == pytest.approx(1 + busy / (2 * (1 - busy)), rel=0.03)
    assert took_ms.min() == pytest.approx(1.0)


def test_calls_that_wait_share_a_batch() -> None:
    """At a rate that one by one could not be kept up, nobody waits for more than two batches."""
    alone_us, full_us = LENET.batch_us(1), LENET.batch_us(32)
    took_ms = LENET.latencies_ms(0.5 * LENET.max_rate_per_s)
    assert 0.5 * LENET.max_rate_per_s > 1e6 / alone_us
    assert took_ms.max() < 2 * full_us / 1000
    assert took_ms.min() == pytest.approx(alone_us / 1000)


def test_the_curve_is_read_between_and_beyond_its_sizes() -> None:
    run_us = [LENET.batch_us(calls) - BURST_US - calls * LENET.call_us for calls in (1, 8, 20, 32, 40)]
    assert run_us == pytest.approx([50, 120, 260, 400, 520])
    of_four = dataclasses.replace(LENET, images=4)
    assert of_four.batch_us(2) == pytest.approx(BURST_US + 2 * LENET.call_us + 120)
    assert (of_four.max_calls, dataclasses.replace(LENET, images=64).max_calls) == (8, 1)


def test_more_load_takes_longer_and_too_much_has_no_end() -> None:
    rates = np.linspace(0.05, 0.99, 12) * LENET.max_rate_per_s
    times = [LENET.percentile_ms(rate) for rate in rates]
    assert times == sorted(times)
    assert LENET.percentile_ms(LENET.max_rate_per_s) == np.inf


@pytest.mark.parametrize("slo_ms", [0.5, 2.0, 50.0])
def test_the_capacity_keeps_the_bound_and_a_little_more_does_not(slo_ms: float) -> None:
    capacity = LENET.capacity_per_s(slo_ms)
    assert LENET.percentile_ms(capacity) <= slo_ms
    assert LENET.percentile_ms(1.03 * capacity) > slo_ms


def test_a_bound_below_a_lone_call_is_unreachable() -> None:
    with pytest.raises(Unreachable, match=r"a lone call takes 0\.205 ms by the measured curve"):
        LENET.capacity_per_s(0.19)
    with pytest.raises(Unreachable, match="at no rate"):
        size(LENET, 100.0, 1.0, 0.3, 1, capacity_per_s=0.0)


def test_cores_are_lanes_beside_the_fronts() -> None:
    more = dataclasses.replace(LENET, cores=5)
    assert (dataclasses.replace(LENET, cores=1).lanes, LENET.lanes, more.lanes) == (1, 1, 4)
    assert more.max_rate_per_s == pytest.approx(4 * LENET.max_rate_per_s)
    assert more.capacity_per_s(50.0) == pytest.approx(4 * LENET.capacity_per_s(50.0), rel=0.05)


def test_figures_of_any_size_have_an_answer() -> None:
    server = Server([(1, 48.0), (64, 64 * 12.0)], 64, 10**9)
    alone_ms = server.batch_us(1) / 1000
    assert server.percentile_ms(1e-300) == pytest.approx(alone_ms)
    assert server.percentile_ms(10.0) == pytest.approx(alone_ms)


def test_servers_carry_the_rate_with_the_headroom_and_the_spare_ones_come_on_top() -> None:
    found = size(LENET, 2000.0, 50.0, headroom=0.5, spare=2, capacity_per_s=1000.0)
    assert (found.needed, found.servers) == (3, 5)
    assert [found.busy(3), found.busy(5)] == pytest.approx([2 / 3, 0.4])
    assert found.all_ms <= found.fewest_ms < 50
    assert size(LENET, 2000.0, 50.0, headroom=0, spare=0, capacity_per_s=1000.0).servers == 2
    assert size(LENET, 0.1, 50.0, headroom=0, spare=0).servers == 1


def test_memory_holds_two_versions_and_what_is_in_flight() -> None:
    assert memory_bytes(0) >> 20 == 128
    assert memory_bytes(100 << 20) >> 20 == 448  # (90 + 200) / 0.75 = 387


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, write_echo_model: WriteModel) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("plan")
    write_echo_model(folder / "models", "one")
    write_echo_model(folder / "models", "skewed", wrong_golden=True)
    yield from started(folder, folder / "models", "--default-model", "one", "--workers", "1")


@pytest.mark.parametrize("over_http", [False, True])
def test_it_says_how_many_servers_and_why(server: Running, over_http: bool, capsys: pytest.CaptureFixture[str]) -> None:
    target = f"http://{server.http}" if over_http else server.grpc
    assert cli.main(["plan", target, "--rate", "100000", "--cores", "2", "--slo-ms", "5000"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "each of 2 cores and" in text
    assert "for 100,000 calls/s of 1 image to one, 99% within 5000 ms." in text
    assert "estimated from its batch curve" in text
    assert "1 more may be away" in text
    assert "At least 1.3 times were asked for (--headroom)" in text


def test_programs_get_one_object(server: Running, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--rate", "10", "--slo-ms", "5000", "--decode-ms", "100", "--spare", "0", "--json"]
    assert cli.main(["plan", server.grpc, *arguments]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["model"], found["servers"], found["needed"], found["spare"]) == ("one", 2, 2, 0)
    assert found["capacity_per_s"] < 10, "decoding takes 0.1 s of the one core"
    assert (found["cores_each"], found["capacity_is_measured"]) == (1, False)


MEASURE = ["--rate", "100", "--slo-ms", "10000", "--deadline-ms", "10000", "--measure", "--json"]


def test_a_load_can_take_the_place_of_the_estimate(
    server: Running, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_TRY_S", 0.05)  # a try lasts as long as its 1,100 calls
    monkeypatch.setattr(capacity, "_MAX_TRIES", 1)
    monkeypatch.setattr(validity, "find_invalid", lambda *_: [])  # what else runs on this machine
    assert cli.main(["plan", server.grpc, *MEASURE]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["capacity_is_measured"]
    assert found["capacity_per_s"] > 11


def test_a_load_whose_figures_cannot_be_trusted_says_why(
    server: Running, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not say that the server is too slow."""
    monkeypatch.setattr(command, "_TRY_S", 0.05)
    monkeypatch.setattr(capacity, "_MAX_TRIES", 2)
    monkeypatch.setattr(validity, "find_invalid", lambda *_: ["the load generator had no core"])
    assert cli.main(["plan", server.grpc, *MEASURE]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(r"covey: no capacity was measured: at \S+ calls/s the load generator had no core", last)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--rate", "0"], "--rate takes a number above 0, not 0"),
        (["--rate", "1e300"], "--rate takes at most 1e+09, not 1e+300"),
        (["--rate", "5", "--spare", "-1"], "--spare takes a number of 0 or more, not -1"),
        (["--rate", "5", "--headroom", "nan"], "--headroom takes a number of 0 or more, not nan"),
        (["--rate", "5", "--slo-ms", "0.01"], "--slo-ms 0.01: a lone call takes"),
        (["--rate", "5", "--model", "skewed"], "the model skewed is refused there: "),
        (["--rate", "5", "--model", "none"], "none"),
    ],
)
def test_wrong_input_is_one_line(
    server: Running, arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["plan", server.grpc, *arguments]) == 2
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1


def test_what_it_assumes_of_covey_is_what_the_docs_measured() -> None:
    lenet = Server([(1, 48.0), (31, 31 * 14.7)], 31, 2)
    assert lenet.batch_us(1) == pytest.approx(196, rel=0.05)
    assert lenet.batch_us(31) / 31 == pytest.approx(72.8, rel=0.01)
    docs = Path(sizing.__file__).parents[2] / "docs"
    assert "196 that the caller sees" in (docs / "performance.md").read_text()
    assert "72.8 us" in (docs / "scale.md").read_text()
