"""Owns one fuzz run from the start of a server to the verdict: what the short test and the long command share."""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.processes import BenchError, Server, free_port
from tests.fuzz.campaign import Campaign, Finding, Tally
from tests.fuzz.case import Case
from tests.fuzz.cases import right_case
from tests.fuzz.http_campaign import HttpCampaign
from tests.fuzz.infer_cases import right_infer_case
from tests.fuzz.server import MemoryCurve, alarms, fuzzed_server, internal_errors

HTTP = "http"
MIN_FOR_MEMORY = 100_000  # cases; shorter runs are still filling caches and pools
MAX_GROWTH = 0.05
MEMORY_SAMPLES = 400
MAX_ALARMS = 5  # shown


@dataclass(frozen=True)
class Verdict:
    """What a run came to. `growth` of resident memory: 0.05 is 5 %, None where the run was too short to say."""

    tally: Tally
    findings: list[Finding]
    seconds: float
    growth: float | None
    resident_bytes: int
    internal: int  # answers with INTERNAL by the server's own count


def fuzz(
    folder: Path, front: str, cases: Iterable[Case], count: int, progress: Callable[[int], object] = id
) -> Verdict:
    """Starts a server in `folder`, sends it `count` cases, asks it something in order, and reads its log and memory.

    `front`: of gRPC, or "http", which takes those of `http_cases`.
    `progress` is told how many cases are done. Raises BenchError where the server does not start.
    """
    http_port = free_port()
    with fuzzed_server(folder, "native" if front == HTTP else front, http_port) as server:
        memory = MemoryCurve(server)
        taken = 0

        def watch(done: int) -> None:
            nonlocal taken
            progress(done)
            if done * MEMORY_SAMPLES >= taken * count and server.is_running:
                taken += 1
                memory.take(done / count)

        started = time.monotonic()
        campaign = HttpCampaign(http_port, watch) if front == HTTP else _campaign(server, watch)
        tally = campaign.run(cases)
        seconds = time.monotonic() - started
        findings = list(tally.findings)
        growth, resident_bytes, internal = None, 0, 0
        try:
            findings += [Finding(f"afterwards: {each.what}", each.suspects) for each in _ask_in_order(server)]
            internal = internal_errors(server)
            resident_bytes = server.resident_bytes()
        except (BenchError, OSError) as error:
            findings.append(Finding(f"the server is gone: {error}", ()))
        if internal:
            findings.append(Finding(f"its metrics count {internal} answers with INTERNAL", ()))
        if count >= MIN_FOR_MEMORY:
            growth = memory.growth
            if growth > MAX_GROWTH:
                findings.append(Finding(f"resident memory grew by {growth:.1%} in the second half", ()))
    log = folder / "server.log"
    findings += [Finding(f"in its log: {line}", ()) for line in alarms(log)[:MAX_ALARMS]]
    return Verdict(tally, findings, seconds, growth, resident_bytes, internal)


def _campaign(server: Server, progress: Callable[[int], object]) -> Campaign:
    host, _, port = server.target.rpartition(":")
    return Campaign(host, int(port), progress=progress)


def _ask_in_order(server: Server) -> list[Finding]:
    """What goes wrong with two hundred requests in order, of both protocols."""
    chance = random.Random(0)
    made = (make(number, chance) for number in range(100) for make in (right_case, right_infer_case))
    cases = [dataclasses.replace(case, number=number) for number, case in enumerate(made)]
    return _campaign(server, id).run(cases).findings
