"""Other servers on the same work: mosec, a Rust front with Python workers over HTTP, at its own best settings."""

from __future__ import annotations

from bench import mosec_peer, samples
from bench.load import measure_load, put_load
from bench.mosec_peer import Setting
from bench.raw_onnxruntime import RawOnnxruntime
from bench.rows import Goal, Row, make_row, missing_row
from bench.run import Run
from bench.scenarios.single_images import MANY


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
            mosec_peer.measure(peer, bodies, MANY, run.seconds / 2)
            costs[setting] = mosec_peer.measure(peer, bodies, MANY, run.seconds / 2).cpu_us
    best = min(costs, key=lambda setting: costs[setting])
    theirs, ours = [], []
    with run.server([model]) as server, mosec_peer.mosec_server(python, file, best, log) as peer:
        put_load(server, messages, MANY, run.seconds / 2)
        mosec_peer.measure(peer, bodies, MANY, run.seconds / 2)
        for _ in run.each_round(scenario):
            theirs.append(mosec_peer.measure(peer, bodies, MANY, run.seconds))
            ours.append(measure_load(server, messages, MANY, run.seconds))
    against = f"mosec {mosec_peer.VERSION}, {best}"
    cpu, floors = [load.cpu_us for load in ours], [load.cpu_us for load in theirs]
    return [
        make_row(scenario, "server CPU", "us/request", cpu, floors, goal, against=against),
        make_row("mosec", "CPU of all its processes", "us/request", floors),
        make_row("mosec", "failed calls", "", [float(load.calls.failures) for load in theirs]),
        make_row("mosec", "throughput", "requests/s", [load.calls.calls_per_s for load in theirs]),
        make_row("mosec", "latency p50", "us", [load.service_us(50) for load in theirs]),
        make_row("mosec", "latency p99", "us", [load.service_us(99) for load in theirs]),
        *(make_row("mosec", f"CPU while choosing: {setting}", "us/request", [cost]) for setting, cost in costs.items()),
    ]
