"""What a server takes before it has done anything: memory, and time until it serves."""

from __future__ import annotations

from bench import samples
from bench.load import put_load
from bench.models import FIVE
from bench.rows import Goal, Row, make_row
from bench.run import Run
from bench.scenarios.rounds import MANY


def memory(run: Run, model: str, goal: Goal) -> list[Row]:
    """Resident memory of a new server with one model, and after a load."""
    scenario = f"{model} loaded"
    messages = samples.golden_messages(model, run.models.file(model))
    ready, loaded = [], []
    for _ in run.each_round(f"{scenario}, memory"):
        with run.server([model]) as server:
            ready.append(server.resident_bytes() / 1e6)
            put_load(server, messages, MANY, run.seconds / 2)
            loaded.append(server.resident_bytes() / 1e6)
    return [
        make_row(scenario, "resident memory", "MB", ready, goal=goal),
        make_row(scenario, "resident memory after a load", "MB", loaded),
    ]


def start(run: Run, goal: Goal) -> list[Row]:
    """From the start of the process to the line that says it is ready, with five models."""
    scenario = f"start with {len(FIVE)} models"
    folder = run.models.copy(FIVE, run.folder())
    seconds = []
    for _ in run.each_round(scenario):
        with run.server_of(folder) as server:
            seconds.append(server.start_s)
    return [make_row(scenario, "process start to ready", "s", seconds, goal=goal)]
