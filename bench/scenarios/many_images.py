"""Requests that are more than one small image: packed calls, photographs, and five models at once."""

from __future__ import annotations

import numpy as np

from bench import photographs, samples
from bench.floors import DecodeFloor, OnnxruntimeCurve, added
from bench.load import Caller
from bench.models import FIVE, PHOTO_NETWORK
from bench.processes import classify, echo_server
from bench.rows import Goal, Row, make_row
from bench.run import Run
from bench.scenarios.rounds import MANY, Side, cpu_row, rows, take_turns

PACKED_IMAGES, PACKED_IN_FLIGHT = 256, 4
PHOTOGRAPHS, PHOTOGRAPHS_IN_FLIGHT = 24, 16


def packed_calls(run: Run, model: str, goal: Goal) -> list[Row]:
    """Server CPU per image of calls that hold hundreds, against onnxruntime alone."""
    scenario = f"{model}, {PACKED_IMAGES} images per call, {PACKED_IN_FLIGHT} in flight"
    curve = OnnxruntimeCurve(run.models.file(model), (1, 8, 32, 64, 128, 256))
    messages = samples.messages([samples.packed(model, samples.golden(curve.raw), PACKED_IMAGES)])
    with run.server([model]) as server:
        (loads,) = take_turns(run, scenario, Side(server, messages, PACKED_IN_FLIGHT), first=curve.measure)
    against = f"onnxruntime alone at batch {curve.best_size}"
    images = [load.calls.calls_per_s * PACKED_IMAGES for load in loads]
    return [
        cpu_row(scenario, loads, curve.best, goal, against, per=PACKED_IMAGES),
        make_row(scenario, "throughput", "images/s", images),
        *rows(scenario, loads, "latency p99", "mean batch"),
    ]


def photographs_in_calls(run: Run, goal: Goal) -> list[Row]:
    """Server CPU per JPEG, against decoding and resizing it plus onnxruntime alone."""
    width, height = photographs.WIDTH, photographs.HEIGHT
    scenario = f"{PHOTO_NETWORK}, JPEGs of {width}x{height}, {PHOTOGRAPHS_IN_FLIGHT} in flight"
    files = [photographs.jpeg(photographs.photograph(seed)) for seed in range(PHOTOGRAPHS)]
    curve = OnnxruntimeCurve(run.models.file(PHOTO_NETWORK), (1, 4, 8, 16, 32))
    decoding = DecodeFloor(files, curve.raw)
    messages = samples.messages(samples.encoded(PHOTO_NETWORK, files))

    def measure_floors() -> None:
        curve.measure()
        decoding.measure()

    with run.server([PHOTO_NETWORK]) as server:
        (loads,) = take_turns(run, scenario, Side(server, messages, PHOTOGRAPHS_IN_FLIGHT), first=measure_floors)
    cpu = [load.cpu_us for load in loads]
    floors = added(decoding.values, curve.best)
    against = f"decode + resize + onnxruntime alone at batch {curve.best_size}"
    kilobytes = [len(file) / 1000 for file in files]
    return [
        make_row(scenario, "server CPU", "us/image", cpu, floors, goal, against=against),
        make_row(scenario, "throughput", "images/s", [load.calls.calls_per_s for load in loads]),
        *rows(scenario, loads, "latency p50", "latency p99", "mean batch"),
        make_row("floor: decode + resize", "CPU", "us/image", decoding.values),
        make_row("floor: decode + resize", "size of the files", "kB", kilobytes),
        *curve.rows(PHOTO_NETWORK),
    ]


def five_models(run: Run) -> list[Row]:
    """Server CPU per request with five loops, one for each of five models, against what each model alone would cost;
    and whether each model gets its share."""
    scenario = f"five models, {MANY} in flight"
    curves = {model: OnnxruntimeCurve(run.models.file(model)) for model in FIVE}
    sent = [samples.single_images(model, samples.golden(curve.raw))[0] for model, curve in curves.items()]
    messages = samples.messages(sent)
    apart = Caller(connections=len(FIVE), apart=True)

    def measure_floors() -> None:
        for curve in curves.values():
            curve.measure()

    with run.server(FIVE) as server, echo_server(len(classify(server, sent[0].request))) as echo:
        sides = (Side(server_loaded, messages, MANY, apart) for server_loaded in (echo, server))
        echoes, loads = take_turns(run, scenario, *sides, first=measure_floors)
    by_model = [np.bincount(load.calls.numbers, minlength=len(FIVE)) for load in loads]
    weighted = [
        float(np.average([curve.best[number] for curve in curves.values()], weights=counts))
        for number, counts in enumerate(by_model)
    ]
    floors = added([echo.cpu_us for echo in echoes], weighted)
    against = "echo + onnxruntime alone at each model's best batch, weighted by requests"
    fewest = [float(counts.min() / counts.mean()) for counts in by_model]
    rates = [counts / load.calls.seconds for counts, load in zip(by_model, loads, strict=True)]
    return [
        cpu_row(scenario, loads, floors, None, against),
        make_row(scenario, "fewest requests of a model / mean", "", fewest),
        *rows(scenario, loads, "latency p99", "mean batch"),
        *(
            make_row(scenario, f"throughput of {model}", "requests/s", [float(rate[place]) for rate in rates])
            for place, model in enumerate(FIVE)
        ),
    ]
