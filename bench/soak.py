"""`make soak`: very many requests, then very many reloads, on one server each; what they do to its memory.

Ctrl-C ends it early, with a summary of what ran until then.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
from collections.abc import Sequence

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bench import samples
from bench.load import Caller, closed_loop, open_load
from bench.memory_curve import Curve, draw_curves
from bench.processes import BenchError
from bench.publishing import publish, wait_until_served
from bench.raw_onnxruntime import RawOnnxruntime
from bench.rows import Goal, describe_machine, write_json
from bench.run import Run, add_arguments, started
from bench.scenarios.rounds import MANY
from bench.table import render_table

MODEL = "lenet"
CHUNK = 10_000  # requests between two looks at the memory
RELOAD_RATE = 100.0  # requests/s beside the reloads
RELOAD_FLAGS = ("--reload-interval-s", "0.1")
_MAX_DURATION_S = 86_400.0


def soak_requests(run: Run, curve: Curve, progress: Progress) -> None:
    """Sends the planned number of requests, all kinds mixed, and checks every answer."""
    images = samples.golden(RawOnnxruntime(run.models.file(MODEL)))
    with run.server([MODEL]) as server:
        sent = samples.mixture(server, MODEL, images)
        refused = sum(sample.is_wrong for sample in sent)
        messages = samples.messages(sent)
        chunk = CHUNK // len(sent) * len(sent)  # whole turns through the mixture
        task = progress.add_task(curve.name, total=curve.planned)
        done = wrong = 0
        curve.add(0, server.resident_bytes())
        while done < curve.planned:
            calls = closed_loop(server, messages, MANY, calls=chunk, caller=Caller(keep_answers=True))
            verdict = samples.judge(sent, calls.answers)
            expected = chunk * refused // len(sent)
            wrong += verdict.wrong + abs(calls.by_status()["INVALID_ARGUMENT"] - expected)
            wrong += abs(chunk - expected - verdict.answers)
            curve.wrong = wrong
            done += chunk
            curve.add(done, server.resident_bytes())
            progress.update(task, completed=done)


def soak_reloads(run: Run, curve: Curve, progress: Progress) -> None:
    """Publishes the planned number of versions one after the other beside a light load."""
    file = run.models.file(MODEL)
    sent = samples.single_images(MODEL, samples.golden(RawOnnxruntime(file)))
    messages = samples.messages(sent)
    models = run.models.copy([MODEL], run.folder())
    task = progress.add_task(curve.name, total=curve.planned)
    with (
        run.server_of(models, flags=RELOAD_FLAGS) as server,
        open_load(
            server,
            messages,
            rate=RELOAD_RATE,
            seconds=_MAX_DURATION_S,
            timeout_s=10.0,
            keep_answers=True,
        ) as running,
    ):
        curve.add(0, server.resident_bytes())
        for done in range(1, curve.planned + 1):
            publish(file, models / MODEL, done + 1)
            wait_until_served(server, MODEL, done + 1)
            shutil.rmtree(models / MODEL / str(done))
            curve.add(done, server.resident_bytes())
            progress.update(task, completed=done)
        running.stop()
        load = running.finish()
        verdict = samples.judge(sent, load.calls.answers)
        curve.wrong = load.calls.calls - verdict.answers + verdict.wrong


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 where memory stayed within its goals and every answer was right; 1 else."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000, help="0: none")
    parser.add_argument("--reloads", type=int, default=1_000, help="0: none")
    add_arguments(parser, MODEL, "one")
    options = parser.parse_args(arguments)
    requests = Curve("requests", options.requests)
    reloads = Curve("reloads", options.reloads)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    failure = ""
    with started(options, 1, 0.0, print) as run, contextlib.suppress(KeyboardInterrupt):
        results = run.results
        try:
            with Progress(*columns) as progress:
                for curve, soak in ((requests, soak_requests), (reloads, soak_reloads)):
                    if curve.planned:
                        soak(run, curve, progress)
        except BenchError as error:
            failure = str(error)
    ran = [(curve, goal) for curve, goal in ((requests, Goal(2.0)), (reloads, Goal(5.0))) if len(curve.units) > 1]
    rows = [row for curve, goal in ran for row in curve.rows(goal)]
    if rows:
        machine = describe_machine()
        write_json(results / "soak.json", rows, machine)
        draw_curves([curve for curve, _ in ran], f"{machine['cpu']}, {machine['date']}", results / "soak.png")
        print(f"\n{render_table(rows)}\n\nWritten to {results}: soak.json, soak.png")
    if failure:
        print(f"soak: {failure}", file=sys.stderr)
    complete = all(curve.units[-1] >= curve.planned for curve, _ in ran) and bool(ran)
    return 0 if complete and not failure and all(row.met is not False for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
