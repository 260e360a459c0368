"""The short fuzz run: 2,000 mutated requests on a real server process, on both fronts. `make fuzz` is the long one."""

from __future__ import annotations

import dataclasses
import random
import socket
from pathlib import Path

import pytest
from tests.fuzz.campaign import Campaign, Finding
from tests.fuzz.cases import case, cases
from tests.fuzz.findings import write_findings
from tests.fuzz.http_cases import BODY, HEAD, RIGHT, WHOLE, http_cases
from tests.fuzz.mutations import MUTATIONS, Mutation, mutate
from tests.fuzz.run import HTTP, fuzz
from tests.fuzz.samples import image_files
from tests.fuzz.server import alarms

CASES = 2000
SEED = 1


@pytest.mark.slow
@pytest.mark.parametrize("front", ["native", "grpcio"])
def test_no_request_does_harm(front: str, tmp_path: Path) -> None:
    """Alive, right afterwards, no INTERNAL, no traceback in its log."""
    verdict = fuzz(tmp_path, front, cases(SEED, CASES), CASES)
    kept = write_findings(tmp_path / "findings", front, SEED, verdict.findings)
    assert not verdict.findings, [finding.what for finding in verdict.findings] + [path.read_text() for path in kept]
    tally = verdict.tally
    assert tally.done == CASES
    # The run reached what it was meant to reach: every kind, both ends of every kind of answer.
    for kind, status in (
        *(("right", "OK"), ("message", "INVALID_ARGUMENT"), ("fields", "NOT_FOUND"), ("image", "OK")),
        *(("infer right", "OK"), ("infer message", "INVALID_ARGUMENT"), ("infer fields", "INVALID_ARGUMENT")),
        *(("infer image", "INVALID_ARGUMENT"), ("infer image", "OK")),
    ):
        assert tally.statuses[kind, status] > 10, tally.statuses
    assert min(tally.images[what] for what in ("classified", "invalid", "too_large")) > 20, tally.images


@pytest.mark.slow
def test_no_request_over_http_does_harm(tmp_path: Path) -> None:
    verdict = fuzz(tmp_path, HTTP, http_cases(SEED, CASES), CASES)
    kept = write_findings(tmp_path / "findings", HTTP, SEED, verdict.findings)
    assert not verdict.findings, [finding.what for finding in verdict.findings] + [path.read_text() for path in kept]
    assert verdict.tally.done == CASES
    for kind, status in ((RIGHT, "200"), (BODY, "200"), (BODY, "422"), (HEAD, "400"), (HEAD, "200"), (WHOLE, "404")):
        assert verdict.tally.statuses[kind, status] > 10, verdict.tally.statuses


def test_a_wrong_answer_over_http_is_found(tmp_path: Path) -> None:
    right = next(each for each in http_cases(SEED, 1000) if each.kind == RIGHT)
    spoiled = [
        dataclasses.replace(right, expected=(9 - right.expected[0],)),
        dataclasses.replace(right, allowed=frozenset()),
    ]
    verdict = fuzz(tmp_path, HTTP, spoiled, len(spoiled))
    assert sorted(finding.what.split()[0] for finding in verdict.findings) == ["answer", "other"]


def test_a_wrong_answer_is_found(tmp_path: Path) -> None:
    """The judge itself: a case that expects something else than the truth, and one that allows no answer at all."""
    right = case(SEED, next(number for number in range(1000) if case(SEED, number).kind == "right"))
    wrong = [9 - expected for expected in right.expected]
    spoiled = [
        type(right)(0, "right", right.headers, right.body, right.allowed, expected=tuple(wrong)),
        type(right)(1, "right", right.headers, right.body, frozenset()),
    ]
    verdict = fuzz(tmp_path, "native", spoiled, len(spoiled))
    found = sorted(finding.what.split()[1] for finding in verdict.findings)
    assert found == ["OK", "classes"], verdict.findings


def test_a_server_that_is_gone_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed_at_once:
        port = closed_at_once.getsockname()[1]
    (finding,) = Campaign("127.0.0.1", port).run(cases(SEED, 10)).findings
    assert finding.what.startswith("no connection to the server any more")


def test_a_log_that_speaks_of_a_bug_is_found(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    grpcios_own = (
        "2026-01-01 00:00:00,000 ERROR Invalid encoding on b'x'\nTraceback (most recent call last):\n  _cygrpc\n"
    )
    log.write_text(f"2026-01-01 00:00:00,000 INFO ready\n{grpcios_own}E1122 04:14:08.551989    6888 hpack_parser.cc\n")
    assert alarms(log) == []
    ours = (
        "2026-01-01 00:00:01,000 ERROR a request failed; this is a bug\nTraceback (most recent call last):\n  _cygrpc\n"
    )
    with log.open("a") as more:
        more.write(ours + '  File "covey_server/call.py"\n2026-01-01 00:00:02,000 INFO stopped\n')
    (found,) = alarms(log)
    assert found.startswith(ours)


def test_a_case_is_the_same_in_every_run() -> None:
    again = list(cases(SEED, 300))
    assert [case(SEED, number) for number in range(300)] == again
    assert len({each.body for each in again}) > 200
    assert [each.body for each in cases(SEED + 1, 300)] != [each.body for each in again]


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_each_mutation_changes_something(mutation: Mutation) -> None:
    file = image_files()[0]
    changed = 0
    for number in range(20):
        data = bytearray(file)
        mutation(random.Random(number), data)
        changed += bytes(data) != file
    assert changed > 15


def test_mutated_files_stay_short() -> None:
    chance = random.Random(0)
    assert max(len(mutate(chance, image_files()[-1], image_files())) for _ in range(300)) <= 40_000


def test_a_finding_says_how_to_replay_it(tmp_path: Path) -> None:
    (path,) = write_findings(tmp_path, "native", 5, [Finding("answered INTERNAL", (case(5, 17),))])
    text = path.read_text()
    assert "answered INTERNAL" in text
    assert "python -m tests.fuzz --front native --seed 5 --only 17" in text
    assert case(5, 17).body.hex() in text
