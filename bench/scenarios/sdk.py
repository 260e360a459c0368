"""The Python SDK as its callers feel it: calls that travel together, a call beside gRPC's own, long runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from bench import samples
from bench.floors import OnnxruntimeCurve
from bench.processes import ROOT, BenchError, Server
from bench.rows import Goal, Row, make_row
from bench.run import Run
from bench.sdk_load import SdkLoad

TASKS = 256  # that call at once, as in a web server
MANY = 64
LONG_RUNS = {
    "many": "Client.classify_many",
    "many-awaited": "AsyncClient.classify_many",
    "stream": "Client.classify_stream",
}


def coalescing(run: Run, model: str, goal: Goal, lone_goal: Goal) -> list[Row]:
    """Images per second of one process with `coalesce=True` against plain calls: many tasks, and a lone one."""
    scenario, lone = f"SDK, {model}, {TASKS} tasks, coalesce=True", f"SDK, {model}, 1 in flight, coalesce=True"
    plain, coalesced, lone_plain, lone_coalesced = [], [], [], []
    images = _write_images(run, model)
    with run.server([model]) as server:
        for _ in run.each_round(scenario):
            plain.append(_put_load(server, model, images, "plain", TASKS, run.seconds))
            coalesced.append(_put_load(server, model, images, "coalesced", TASKS, run.seconds))
            lone_plain.append(_put_load(server, model, images, "plain", 1, run.seconds / 2))
            lone_coalesced.append(_put_load(server, model, images, "coalesced", 1, run.seconds / 2))
    against = "plain calls of the same client"
    rates, plain_rates = ([load.images_per_second for load in loads] for loads in (coalesced, plain))
    p50, plain_p50 = ([load.latency_p50_us for load in loads] for loads in (lone_coalesced, lone_plain))
    return [
        make_row(scenario, "throughput", "images/s", rates, plain_rates, goal, against=against),
        make_row(scenario, "client CPU", "us/image", [load.cpu_us for load in coalesced]),
        make_row(scenario, "latency p50", "us", [load.latency_p50_us for load in coalesced]),
        make_row(lone, "latency p50", "us", p50, plain_p50, lone_goal, against=against),
    ]


def calls(run: Run, model: str, goal: Goal) -> list[Row]:
    """Client CPU per call of AsyncClient, against a bare grpc.aio stub that sends and reads the same messages."""
    scenario = f"SDK, {model}, AsyncClient, {MANY} in flight"
    stubs, clients = [], []
    images = _write_images(run, model)
    with run.server([model]) as server:
        for _ in run.each_round(scenario):
            stubs.append(_put_load(server, model, images, "stub", MANY, run.seconds))
            clients.append(_put_load(server, model, images, "plain", MANY, run.seconds))
    cpu, stub_cpu = ([load.cpu_us for load in loads] for loads in (clients, stubs))
    return [
        make_row(scenario, "client CPU", "us/call", cpu, stub_cpu, goal, against="a bare grpc.aio stub"),
        make_row(scenario, "throughput", "images/s", [load.images_per_second for load in clients]),
    ]


def long_runs(run: Run, model: str) -> list[Row]:
    """Images per second of classify_many, of both clients, and of classify_stream, beside those of onnxruntime alone on
    one core."""
    scenario = f"SDK, {model}, many images"
    curve = OnnxruntimeCurve(run.models.file(model))
    images = _write_images(run, model)
    loads: dict[str, list[SdkLoad]] = {way: [] for way in LONG_RUNS}
    with run.server([model]) as server:
        for _ in run.each_round(scenario):
            curve.measure()
            for way, those in loads.items():
                those.append(_put_load(server, model, images, way, TASKS, run.seconds))
    floors = [1e6 / value for value in curve.best]
    against = f"onnxruntime alone at batch {curve.best_size}, one core"
    return [
        row
        for way, method in LONG_RUNS.items()
        for row in (
            make_row(
                f"SDK, {model}, {method}",
                "throughput",
                "images/s",
                [load.images_per_second for load in loads[way]],
                floors,
                against=against,
            ),
            make_row(f"SDK, {model}, {method}", "client CPU", "us/image", [load.cpu_us for load in loads[way]]),
        )
    ]


def _write_images(run: Run, model: str) -> Path:
    golden = samples.golden(OnnxruntimeCurve(run.models.file(model)).raw)
    path = run.folder() / "images.npz"
    np.savez(path, images=golden.pixels, top=np.array(golden.top))
    return path


def _put_load(server: Server, model: str, images: Path, way: str, in_flight: int, seconds: float) -> SdkLoad:
    """Runs the client, in a process of its own. Raises BenchError where it failed, or an answer was wrong."""
    command = [sys.executable, "-m", "bench.sdk_load", "--target", server.target, "--model", model]
    command += ["--images", str(images), "--way", way, "--in-flight", str(in_flight), "--seconds", str(seconds)]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise BenchError(f"the SDK on {server.name}, {way}: {finished.stderr.strip()}")
    load = SdkLoad(**json.loads(finished.stdout))
    if load.wrong:
        raise BenchError(f"the SDK on {server.name}, {way}: {load.wrong} of {load.images} answers are wrong")
    return load
