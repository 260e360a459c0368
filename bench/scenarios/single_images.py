"""One image per call: what a request costs the server with many in flight, and how long a lone one takes."""

from __future__ import annotations

from bench import samples
from bench.floors import OnnxruntimeCurve, added
from bench.processes import classify, echo_server
from bench.rows import Goal, Row, make_row
from bench.run import Run
from bench.scenarios.rounds import MANY, Side, cpu_row, rows, take_turns


def many_in_flight(run: Run, model: str, goal: Goal) -> list[Row]:
    """Server CPU per request, against the echo and onnxruntime at its best batch."""
    scenario = f"{model}, {MANY} in flight"
    curve = OnnxruntimeCurve(run.models.file(model))
    sent = samples.single_images(model, samples.golden(curve.raw))
    messages = samples.messages(sent)
    with run.server([model]) as server, echo_server(len(classify(server, sent[0].request))) as echo:
        echoes, loads = take_turns(run, scenario, Side(echo, messages), Side(server, messages), first=curve.measure)
    floors = added([echo.cpu_us for echo in echoes], curve.best)
    against = f"echo + onnxruntime alone at batch {curve.best_size}"
    return [
        cpu_row(scenario, loads, floors, goal, against),
        *rows(scenario, loads, "throughput", "latency p50", "latency p99", "mean batch", "generator CPU"),
        *curve.rows(model),
        *rows(f"floor: echo, {MANY} in flight, as {model}", echoes, "server CPU"),
    ]


def one_in_flight(run: Run, model: str, goal: Goal) -> list[Row]:
    """Latency of a lone request, against the echo's and onnxruntime's for one image."""
    scenario, floor = f"{model}, 1 in flight", "floor: echo, 1 in flight"
    curve = OnnxruntimeCurve(run.models.file(model), (1,))
    sent = samples.single_images(model, samples.golden(curve.raw))
    messages = samples.messages(sent)
    with run.server([model]) as server, echo_server(len(classify(server, sent[0].request))) as echo:
        sides = Side(echo, messages, 1), Side(server, messages, 1)
        echoes, loads = take_turns(run, scenario, *sides, first=curve.measure, share=0.5)
    floors = added([echo.service_us(50) for echo in echoes], curve.single)
    p50 = [load.service_us(50) for load in loads]
    against = "p50 of the echo + onnxruntime alone at batch 1"
    return [
        make_row(scenario, "latency p50", "us", p50, floors, goal, against=against),
        *rows(scenario, loads, "latency p99", "server CPU"),
        *rows(floor, echoes, "latency p50", "server CPU"),
    ]


def fronts(run: Run, model: str, goal: Goal) -> list[Row]:
    """Server CPU per request on the grpcio front, against the native one."""
    scenario = f"{model}, {MANY} in flight, grpcio front"
    messages = samples.golden_messages(model, run.models.file(model))
    with run.server([model]) as native, run.server([model], "grpcio") as grpcio:
        natives, grpcios = take_turns(run, scenario, Side(native, messages), Side(grpcio, messages))
    floors = [load.cpu_us for load in natives]
    return [
        cpu_row(scenario, grpcios, floors, goal, "the native front"),
        *rows(scenario, grpcios, "throughput", "latency p99"),
    ]
