"""The simulation of many servers: what can be computed by hand, and what its page claims."""

from __future__ import annotations

import numpy as np
import pytest
from bench import scale, scale_check
from bench.scale import POLICIES, Farm, simulate


@pytest.fixture(autouse=True)
def few_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "_MIN_REQUESTS", 20_000)


def test_a_server_with_nothing_to_do_takes_what_a_lone_request_takes() -> None:
    latencies = simulate(Farm(1, 0.001), POLICIES["round robin"])
    assert np.percentile(latencies, 90) == pytest.approx(193.0)  # 160 + 33
    assert latencies.min() == pytest.approx(193.0)


def test_what_cannot_be_answered_in_time_is_refused() -> None:
    """At three times its capacity a server refuses two thirds, and answers the others within the deadline."""
    latencies = simulate(Farm(1, 3.0), POLICIES["round robin"])
    assert 0.55 < np.isinf(latencies).mean() < 2 / 3, "the queue that is left at the end is answered"
    answered = latencies[np.isfinite(latencies)]
    assert 40_000 < np.median(answered) <= answered.max() <= 50_000 + 160 + 32 * 33


@pytest.mark.parametrize("name", POLICIES)
def test_each_way_answers_every_request(name: str) -> None:
    latencies = simulate(Farm(10, 0.7), POLICIES[name])
    assert len(latencies) == 20_000 - 20_000 // 3
    assert latencies.min() >= 193.0
    assert np.isfinite(latencies).all()


def test_a_slow_server_spoils_turns_and_not_fewest_calls() -> None:
    farm = Farm(10, 0.8, slowness=2.0)
    in_turn, fewest = (
        np.percentile(simulate(farm, POLICIES[name]), 99) for name in ("round robin", "fewest own calls")
    )
    assert in_turn > 5 * fewest


def test_the_same_seed_gives_the_same() -> None:
    one, again, other = (simulate(Farm(3, 0.5), POLICIES["two, own calls"], seed) for seed in (1, 1, 2))
    assert (one == again).all()
    assert not (one == other).all()


def test_the_command_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert scale.main(["--servers", "2", "--load", "0.5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("| 2 | 50% |") for line in lines) == 2


@pytest.mark.parametrize("one_each", [False, True])
def test_real_clients_before_sleeping_servers_are_all_answered_and_not_too_soon(*, one_each: bool) -> None:
    took = scale_check.measure(Farm(2, 0.2), 300.0, 1.0, one_each=one_each)
    assert len(took) > 10
    assert np.isfinite(took).all()
    assert took.min() >= 190.0, "a batch of one takes 193 us, stretched; a sleep may end a little early"


def test_a_sleeping_server_refuses_what_it_would_answer_too_late() -> None:
    took = scale_check.measure(Farm(1, 3.0, deadline_us=1_300.0), 100.0, 1.0, one_each=True)
    assert 0.2 < np.isinf(took).mean() < 0.9


def test_the_check_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert scale_check.main(["--servers", "1", "--load", "0.1", "--seconds", "0.5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" | ")[0] for line in lines[2:]] == ["| alike"] * 2 + ["| every tenth slow"] * 2
