"""What several processes cost and gain: the same load on one process and on more, by turns."""

from __future__ import annotations

from bench import samples
from bench.load import Caller
from bench.rows import Row, make_row
from bench.run import Run
from bench.scenarios.rounds import MANY, Side, cpu_row, rows, take_turns

CONNECTIONS = 32  # the kernel shares connections, not calls: of few, one process may get most


def against_one(run: Run, model: str, processes: int = 2) -> list[Row]:
    """Requests per second, latency, CPU per request and memory."""
    scenario = f"{model}, {MANY} in flight by {CONNECTIONS} connections"
    messages = samples.golden_messages(model, run.models.file(model))
    caller = Caller(connections=CONNECTIONS)
    with run.server([model]) as one, run.server([model], flags=["--processes", str(processes)]) as more:
        alone, shared = take_turns(
            run, scenario, Side(one, messages, caller=caller), Side(more, messages, caller=caller)
        )
        memory = [server.resident_bytes() / 1e6 for server in (one, more)]
    name = f"{scenario}, {processes} processes"
    return [
        *rows(f"{scenario}, 1 process", alone, "throughput", "latency p50", "latency p99", "mean batch"),
        *rows(name, shared, "throughput", "latency p50", "latency p99", "mean batch"),
        cpu_row(name, shared, [load.cpu_us for load in alone], None, "1 process"),
        make_row(name, "resident memory of all", "MB", [memory[1]], [memory[0]], against="1 process"),
    ]
