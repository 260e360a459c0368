"""What is seen of the server from outside: whose process it is, and when its CPU figures are worth something."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil
from tests.load.scripted import scripted

from covey_load.observation import ProcessWatch
from covey_load.plan import Plan
from covey_load.reports.facts import remarks
from covey_load.runner import run


def test_who_only_passes_calls_on_is_not_taken_for_the_server() -> None:
    """The server of this test lives in its process, which goes by another name meanwhile."""
    own_name = Path("/proc/self/comm")
    previous = own_name.read_text()
    with scripted() as server:
        own_name.write_text("docker-proxy")
        try:
            report = run(Plan(server.target, concurrencies=(1,), calls=5, warm_up_s=0))
        finally:
            own_name.write_text(previous)
    assert [each.server_process for each in report.runs] == [None]
    (remark,) = report.remarks
    assert remark.startswith(f"docker-proxy (process {os.getpid()}) listens at the target, and only passes calls on")
    assert f"Note: {remark}" in remarks(report)


def test_cpu_figures_need_a_tenth_of_a_second_and_memory_does_not() -> None:
    watch = ProcessWatch(os.getpid())
    watch.begin()
    watch.end()
    short = watch.figures(10)
    assert short is not None
    assert (short.cpu_us_per_call, short.cores_used) == (None, None)
    assert (short.name, short.peak_memory_bytes > 10e6) == (psutil.Process().name(), True)

    watch.begin()
    end_s = time.process_time() + 0.15
    while time.process_time() < end_s:
        pass
    watch.end()
    long = watch.figures(10)
    assert long is not None
    assert long.cpu_us_per_call is not None
    assert long.cpu_us_per_call >= 10_000
