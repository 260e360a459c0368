"""One image per call: what a request costs the server with many in flight, and how long a lone one takes."""

from __future__ import annotations

from bench import samples
from bench.floors import OnnxruntimeCurve, added
from bench.load import measure_load, put_load
from bench.processes import classify, echo_server
from bench.rows import Goal, Row, make_row
from bench.run import Run

MANY = 64  # calls in flight


def many_in_flight(run: Run, model: str, goal: Goal) -> list[Row]:
    """Server CPU per request, against the echo and onnxruntime at its best batch."""
    scenario = f"{model}, {MANY} in flight"
    curve = OnnxruntimeCurve(run.models.file(model))
    sent = samples.single_images(model, samples.golden(curve.raw))
    messages = samples.messages(sent)
    echoes, loads = [], []
    with run.server([model]) as server, echo_server(len(classify(server, sent[0].request))) as echo:
        for each in (echo, server):
            put_load(each, messages, MANY, run.seconds / 2)
        for _ in run.each_round(scenario):
            curve.measure()
            echoes.append(measure_load(echo, messages, MANY, run.seconds))
            loads.append(measure_load(server, messages, MANY, run.seconds))
    floors = added([echo.cpu_us for echo in echoes], curve.best)
    against = f"echo + onnxruntime alone at batch {curve.best_size}"
    cpu = [load.cpu_us for load in loads]
    return [
        make_row(scenario, "server CPU", "us/request", cpu, floors, goal, against=against),
        make_row(scenario, "throughput", "requests/s", [load.calls.calls_per_s for load in loads]),
        make_row(scenario, "latency p50", "us", [load.service_us(50) for load in loads]),
        make_row(scenario, "latency p99", "us", [load.service_us(99) for load in loads]),
        make_row(scenario, "mean batch", "images", [load.mean_batch for load in loads]),
        make_row(scenario, "generator CPU", "us/request", [load.calls.cpu_us_per_call for load in loads]),
        *curve.rows(model),
        make_row(f"floor: echo, {MANY} in flight, as {model}", "server CPU", "us/request", [e.cpu_us for e in echoes]),
    ]


def one_in_flight(run: Run, model: str, goal: Goal) -> list[Row]:
    """Latency of a lone request, against the echo's and onnxruntime's for one image."""
    scenario = f"{model}, 1 in flight"
    curve = OnnxruntimeCurve(run.models.file(model), (1,))
    sent = samples.single_images(model, samples.golden(curve.raw))
    messages = samples.messages(sent)
    echoes, loads = [], []
    with run.server([model]) as server, echo_server(len(classify(server, sent[0].request))) as echo:
        for each in (echo, server):
            put_load(each, messages, 1, run.seconds / 4)
        for _ in run.each_round(scenario):
            curve.measure()
            echoes.append(measure_load(echo, messages, 1, run.seconds / 2))
            loads.append(measure_load(server, messages, 1, run.seconds / 2))
    echo_p50 = [echo.service_us(50) for echo in echoes]
    p50 = [load.service_us(50) for load in loads]
    against = "p50 of the echo + onnxruntime alone at batch 1"
    return [
        make_row(scenario, "latency p50", "us", p50, added(echo_p50, curve.single), goal, against=against),
        make_row(scenario, "latency p99", "us", [load.service_us(99) for load in loads]),
        make_row(scenario, "server CPU", "us/request", [load.cpu_us for load in loads]),
        make_row("floor: echo, 1 in flight", "latency p50", "us", echo_p50),
        make_row("floor: echo, 1 in flight", "server CPU", "us/request", [echo.cpu_us for echo in echoes]),
    ]


def fronts(run: Run, model: str, goal: Goal) -> list[Row]:
    """Server CPU per request on the grpcio front, against the native one."""
    scenario = f"{model}, {MANY} in flight, grpcio front"
    messages = samples.golden_messages(model, run.models.file(model))
    natives, grpcios = [], []
    with run.server([model]) as native, run.server([model], "grpcio") as grpcio:
        for each in (native, grpcio):
            put_load(each, messages, MANY, run.seconds / 2)
        for _ in run.each_round(scenario):
            natives.append(measure_load(native, messages, MANY, run.seconds))
            grpcios.append(measure_load(grpcio, messages, MANY, run.seconds))
    cpu, floors = [load.cpu_us for load in grpcios], [load.cpu_us for load in natives]
    return [
        make_row(scenario, "server CPU", "us/request", cpu, floors, goal, against="the native front"),
        make_row(scenario, "throughput", "requests/s", [load.calls.calls_per_s for load in grpcios]),
        make_row(scenario, "latency p99", "us", [load.service_us(99) for load in grpcios]),
    ]
