"""Other servers on the same work: mosec, a Rust front with Python workers over HTTP, at its own best settings."""

from __future__ import annotations

from bench import mosec_peer, samples
from bench.load import measure_load
from bench.mosec_peer import Setting
from bench.raw_onnxruntime import RawOnnxruntime
from bench.rows import Goal, Row, make_row, missing_row
from bench.run import Run
from bench.scenarios.rounds import MANY, Side, cpu_row, rows, take_turns


def against_mosec(run: Run, model: str, goal: Goal) -> list[Row]:
    """Our CPU per request against all of mosec's processes together."""
    scenario = f"{model}, {MANY} in flight, against mosec"
    try:
        python = mosec_peer.install(run.results / "mosec")
    except mosec_peer.NotInstalled as error:
        return [missing_row(scenario, "server CPU", "us/request", goal, str(error))]
    file = run.models.file(model)
    images = samples.golden(RawOnnxruntime(file))
    messages = samples.messages(samples.single_images(model, images))
    bodies = [image.tobytes() for image in images.pixels]
    log = run.results / "logs" / "mosec.log"
    costs: dict[Setting, float] = {}
    for setting in mosec_peer.SETTINGS:
        run.report(f"{scenario}: trying {setting}")
        with mosec_peer.mosec_server(python, file, setting, log) as peer:
            measure_load(peer, bodies, MANY, run.seconds / 2, mosec_peer.CALLER)
            costs[setting] = measure_load(peer, bodies, MANY, run.seconds / 2, mosec_peer.CALLER).cpu_us
    best = min(costs, key=lambda setting: costs[setting])
    with run.server([model]) as server, mosec_peer.mosec_server(python, file, best, log) as peer:
        sides = Side(peer, bodies, caller=mosec_peer.CALLER), Side(server, messages)
        theirs, ours = take_turns(run, scenario, *sides)
    against = f"mosec {mosec_peer.VERSION}, {best}"
    floors = [load.cpu_us for load in theirs]
    return [
        cpu_row(scenario, ours, floors, goal, against),
        make_row("mosec", "CPU of all its processes", "us/request", floors),
        make_row("mosec", "failed calls", "", [float(load.calls.failures) for load in theirs]),
        *rows("mosec", theirs, "throughput", "latency p50", "latency p99"),
        *(make_row("mosec", f"CPU while choosing: {setting}", "us/request", [cost]) for setting, cost in costs.items()),
    ]
