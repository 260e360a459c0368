"""New versions of a model while it serves: nobody may notice."""

from __future__ import annotations

import time

from bench import samples
from bench.load import open_load, put_load
from bench.publishing import publish, wait_until_answered, wait_until_served
from bench.raw_onnxruntime import RawOnnxruntime
from bench.rows import Goal, Row, make_row
from bench.run import Run
from bench.scenarios.rounds import MANY

RELOADS = 20
LOAD = 0.5  # of capacity
TIMEOUT_S = 10.0
ROUND_US = 200  # the generator's, which is part of every latency
_MAX_DURATION_S = 600.0


def reload(run: Run, model: str, failures_goal: Goal, latency_goal: Goal) -> list[Row]:
    """Publishes versions one after the other under half load; counts failed and wrong answers, and compares the
    latency with that before the first."""
    scenario = f"{RELOADS} reloads of {model} under half load"
    sent = samples.single_images(model, samples.golden(RawOnnxruntime(run.models.file(model))))
    messages = samples.messages(sent)
    models = run.models.copy([model], run.folder())
    before_s = 2 * run.seconds
    with run.server_of(models) as server:
        put_load(server, messages, MANY, run.seconds / 2)
        capacity = put_load(server, messages, MANY, run.seconds).calls_per_s
        run.report(f"{scenario}: {LOAD * capacity:,.0f} requests/s")
        with open_load(
            server,
            messages,
            rate=LOAD * capacity,
            seconds=_MAX_DURATION_S,
            timeout_s=TIMEOUT_S,
            round_us=ROUND_US,
            keep_answers=True,
        ) as running:
            time.sleep(before_s)
            began_ns = time.perf_counter_ns()
            seconds = []
            for version in range(2, RELOADS + 2):
                published = time.perf_counter()
                publish(run.models.file(model), models / model, version)
                wait_until_served(server, model, version)
                seconds.append(time.perf_counter() - published)
                wait_until_answered(server, model, version)  # else a version may come and go between two requests
            ended_ns = time.perf_counter_ns()
            running.stop()
            load = running.finish()
    verdict = samples.judge(sent, load.calls.answers)
    ends = load.calls.by_status()
    failed = load.calls.calls - verdict.answers
    p99_before_ms = load.percentile_ms(99, to_ns=began_ns)
    p99_during_ms = load.percentile_ms(99, from_ns=began_ns, to_ns=ended_ns)
    return [
        make_row(
            scenario,
            "failed or wrong answers",
            "answers",
            [float(failed + verdict.wrong)],
            goal=failures_goal,
            note=load.flaw,
        ),
        make_row(
            scenario,
            "latency p99",
            "ms",
            [p99_during_ms],
            [p99_before_ms],
            latency_goal,
            against="p99 before",
            note=load.flaw,
        ),
        make_row(scenario, "wrong answers", "answers", [float(verdict.wrong)]),
        *(make_row(scenario, f"ended {code}", "requests", [float(count)]) for code, count in ends.items()),
        make_row(scenario, "versions that answered", "", [float(len(verdict.by_version))]),
        make_row(scenario, "publication to being served", "s", seconds),
        make_row(scenario, "largest latency", "ms", [load.percentile_ms(100, from_ns=began_ns)], None),
        make_row(scenario, "largest latency before", "ms", [load.percentile_ms(100, to_ns=began_ns)]),
        make_row(scenario, "calls sent late by, p99", "ms", [load.lag_p99_ms]),
    ]
