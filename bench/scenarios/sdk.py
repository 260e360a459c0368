"""The Python SDK as its callers feel it: calls that travel together, a call beside gRPC's own, long runs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench import samples
from bench.floors import OnnxruntimeCurve
from bench.processes import ROOT, BenchError, Server
from bench.raw_onnxruntime import RawOnnxruntime
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
    images = write_images(run, model)
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
    images = write_images(run, model)
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
    images = write_images(run, model)
    loads: dict[str, list[SdkLoad]] = {way: [] for way in LONG_RUNS}
    with run.server([model]) as server:
        for _ in run.each_round(scenario):
            curve.measure()
            for way, way_loads in loads.items():
                way_loads.append(_put_load(server, model, images, way, TASKS, run.seconds))
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


def write_images(run: Run, model: str) -> Path:
    """The model's golden set as bench.sdk_load takes it."""
    golden = samples.golden(RawOnnxruntime(run.models.file(model)))
    path = run.folder() / "images.npz"
    np.savez(path, images=golden.pixels, top=np.array(golden.top))
    return path


def run_client(
    server: Server,
    model: str,
    images: Path,
    way: str,
    *flags: str,
    look: Callable[[int, int], object] = lambda done, pid: None,
) -> SdkLoad:
    """Runs bench.sdk_load, a process of its own, with these flags. `look` is told how many answers there were each time
    it says so, and its process id. Raises BenchError where it failed."""
    command = [sys.executable, "-m", "bench.sdk_load", "--target", server.target, "--model", model]
    command += ["--images", str(images), "--way", way, *flags]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        line = "{}"
        for line in client.stdout:
            if "done" in (progress := json.loads(line)):
                look(progress["done"], client.pid)
    if client.returncode:
        raise BenchError(f"the SDK on {server.name}, {way}: exit code {client.returncode} after {line.strip()}")
    return SdkLoad(**json.loads(line))


def _put_load(server: Server, model: str, images: Path, way: str, in_flight: int, seconds: float) -> SdkLoad:
    """Puts a load on by the SDK. Raises BenchError, also where an answer was wrong."""
    load = run_client(server, model, images, way, "--in-flight", str(in_flight), "--seconds", str(seconds))
    if load.wrong:
        raise BenchError(f"the SDK on {server.name}, {way}: {load.wrong} of {load.images} answers are wrong")
    return load
