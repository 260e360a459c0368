"""Requests that are more than one small image: packed calls, photographs, and five models at once."""

from __future__ import annotations

import numpy as np

from bench import photographs, samples
from bench.floors import DecodeFloor, OnnxruntimeCurve, added
from bench.load import Caller, measure_load, put_load
from bench.models import FIVE, PHOTO_NETWORK
from bench.processes import classify, echo_server
from bench.rows import Goal, Row, make_row
from bench.run import Run
from bench.scenarios.single_images import MANY

PACKED_IMAGES, PACKED_IN_FLIGHT = 256, 4
PHOTOGRAPHS, PHOTOGRAPHS_IN_FLIGHT = 24, 16


def packed_calls(run: Run, model: str, goal: Goal) -> list[Row]:
    """Server CPU per image of calls that hold hundreds, against onnxruntime alone."""
    scenario = f"{model}, {PACKED_IMAGES} images per call, {PACKED_IN_FLIGHT} in flight"
    curve = OnnxruntimeCurve(run.models.file(model), (1, 8, 32, 64, 128, 256))
    messages = samples.messages([samples.packed(model, samples.golden(curve.raw), PACKED_IMAGES)])
    loads = []
    with run.server([model]) as server:
        put_load(server, messages, PACKED_IN_FLIGHT, run.seconds / 2)
        for _ in run.each_round(scenario):
            curve.measure()
            loads.append(measure_load(server, messages, PACKED_IN_FLIGHT, run.seconds))
    cpu = [load.cpu_us / PACKED_IMAGES for load in loads]
    against = f"onnxruntime alone at batch {curve.best_size}"
    images = [load.calls.calls_per_s * PACKED_IMAGES for load in loads]
    return [
        make_row(scenario, "server CPU", "us/image", cpu, curve.best, goal, against=against),
        make_row(scenario, "throughput", "images/s", images),
        make_row(scenario, "latency p99", "us", [load.service_us(99) for load in loads]),
        make_row(scenario, "mean batch", "images", [load.mean_batch for load in loads]),
    ]


def photographs_in_calls(run: Run, goal: Goal) -> list[Row]:
    """Server CPU per JPEG, against decoding and resizing it plus onnxruntime alone."""
    width, height = photographs.WIDTH, photographs.HEIGHT
    scenario = f"{PHOTO_NETWORK}, JPEGs of {width}x{height}, {PHOTOGRAPHS_IN_FLIGHT} in flight"
    files = [photographs.jpeg(photographs.photograph(seed)) for seed in range(PHOTOGRAPHS)]
    curve = OnnxruntimeCurve(run.models.file(PHOTO_NETWORK), (1, 4, 8, 16, 32))
    decoding = DecodeFloor(files, curve.raw)
    messages = samples.messages(samples.encoded(PHOTO_NETWORK, files))
    loads = []
    with run.server([PHOTO_NETWORK]) as server:
        put_load(server, messages, PHOTOGRAPHS_IN_FLIGHT, run.seconds / 2)
        for _ in run.each_round(scenario):
            curve.measure()
            decoding.measure()
            loads.append(measure_load(server, messages, PHOTOGRAPHS_IN_FLIGHT, run.seconds))
    cpu = [load.cpu_us for load in loads]
    floors = added(decoding.values, curve.best)
    against = f"decode + resize + onnxruntime alone at batch {curve.best_size}"
    kilobytes = [len(file) / 1000 for file in files]
    return [
        make_row(scenario, "server CPU", "us/image", cpu, floors, goal, against=against),
        make_row(scenario, "throughput", "images/s", [load.calls.calls_per_s for load in loads]),
        make_row(scenario, "latency p50", "us", [load.service_us(50) for load in loads]),
        make_row(scenario, "latency p99", "us", [load.service_us(99) for load in loads]),
        make_row(scenario, "mean batch", "images", [load.mean_batch for load in loads]),
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
    echoes, loads, weighted = [], [], []
    with run.server(FIVE) as server, echo_server(len(classify(server, sent[0].request))) as echo:
        for each in (echo, server):
            put_load(each, messages, MANY, run.seconds / 2, apart)
        for _ in run.each_round(scenario):
            for curve in curves.values():
                curve.measure()
            echoes.append(measure_load(echo, messages, MANY, run.seconds, apart))
            loads.append(measure_load(server, messages, MANY, run.seconds, apart))
    by_model = [np.bincount(load.calls.numbers, minlength=len(FIVE)) for load in loads]
    for number, counts in enumerate(by_model):
        shares = counts / counts.sum()
        weighted.append(
            float(sum(share * curve.best[number] for share, curve in zip(shares, curves.values(), strict=True)))
        )
    cpu = [load.cpu_us for load in loads]
    floors = added([echo.cpu_us for echo in echoes], weighted)
    against = "echo + onnxruntime alone at each model's best batch, weighted by requests"
    fewest = [float(counts.min() / counts.mean()) for counts in by_model]
    rates = [
        [float(counts[place] / load.calls.seconds) for counts, load in zip(by_model, loads, strict=True)]
        for place in range(len(FIVE))
    ]
    return [
        make_row(scenario, "server CPU", "us/request", cpu, floors, against=against),
        make_row(scenario, "fewest requests of a model / mean", "", fewest),
        make_row(scenario, "latency p99", "us", [load.service_us(99) for load in loads]),
        make_row(scenario, "mean batch", "images", [load.mean_batch for load in loads]),
        *(
            make_row(scenario, f"throughput of {model}", "requests/s", rate)
            for model, rate in zip(FIVE, rates, strict=True)
        ),
    ]
