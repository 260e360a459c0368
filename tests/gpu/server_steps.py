"""Steps that run a real server on the device."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import numpy as np
from bench.load import Caller, measure_load
from bench.processes import ROOT, Server, covey_server, fetch
from bench.publishing import publish, wait_until_served
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families
from tests.gpu import network
from tests.gpu.engine_steps import raw_rates
from tests.gpu.place import MODEL, Place, channel, classify, probabilities
from tests.gpu.steps import Figures
from tests.identity.campaign import campaign

from covey_proto.v1.classifier_pb2 import ClassifyRequest, Pixels
from covey_server.inference.devices import CPU
from covey_server.inference.engine import Engine

_TOLERANCE = 2e-3  # of a probability, between this device and the CPU, and between batch sizes
_IN_FLIGHT = 256
_CALLERS = 8


def strict_device(place: Place) -> Figures:
    """`--device cuda` serves on the device, or refuses to start with exit code 4 and says what to do."""
    if place.device.is_cuda:
        with place.server() as server, channel(server) as connection:
            answer = classify(connection, network.pictures(1, place.size))
            assert answer.timing.device == place.device.name
            assert _sample(server, "covey_device_fallback") == 0
        return {"device": answer.timing.device}
    command = [sys.executable, "-m", "covey_server", "--models", str(place.models), "--device", "cuda"]
    command += ["--grpc-port", "0", "--http-port", "0", "--metrics-port", "0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 4, done.stderr
    assert "use --device cpu" in done.stderr
    return {"device": "refused, as it has to be", "said": done.stderr.splitlines()[-1]}


def auto_device(place: Place) -> Figures:
    """`--device auto` takes the device that works."""
    with (
        covey_server(place.models, "native", place.folder / "auto.log", ("--device", "auto")) as server,
        channel(server) as connection,
    ):
        answer = classify(connection, network.pictures(1, place.size))
        assert answer.timing.device == place.device.name
        return {"device": answer.timing.device, "fallback": _sample(server, "covey_device_fallback")}


def golden_check(place: Place) -> Figures:
    """The golden set was computed on the CPU; the server compares it with the device at load, and so do callers."""
    images = network.pictures(16, place.size, seed=11)
    expected = Engine(place.file, CPU).run(images)
    with place.server() as server, channel(server) as connection:
        found = probabilities(classify(connection, images, top_k=network.CLASSES), network.CLASSES)
        at_load = _sample(server, "covey_golden_check_difference")
    difference = float(np.abs(found - expected).max())
    assert difference <= _TOLERANCE, f"answers differ by {difference:.1e} from the CPU's"
    return {"difference_at_load": at_load, "difference_of_answers": difference}


def identity(place: Place) -> Figures:
    """Mixed callers with a model that answers with its own pixels: everybody gets its own rows."""
    folder = place.folder / "identity"
    folder.mkdir()
    score, reloads = campaign(folder, "native", place.seconds * 3, seed=5)
    assert (score.wrong, score.lost, dict(score.innocent)) == (0, 0, {})
    return {"images": score.images, "reloads": reloads, "outcomes": dict(score.outcomes)}


def two_models(place: Place) -> Figures:
    """Callers of two models at once; each answer is that model's."""
    models = place.folder / "two"
    network.write(models, MODEL, place.size)
    network.write(models, "other", place.size // 2, seed=2)
    with place.server(models, "--default-model", MODEL) as server, _asking(server) as asked:
        for name, size in ((MODEL, place.size), ("other", place.size // 2)):
            images = network.pictures(4, size, seed=13)
            asked.add(name, images, Engine(models / name / "1" / "model.onnx", CPU).run(images))
        time.sleep(place.seconds)
    return asked.verdict()


def reload(place: Place) -> Figures:
    """A new version appears under load; no call fails."""
    models = place.folder / "reload"
    file = network.write(models, MODEL, place.size)
    images = network.pictures(4, place.size, seed=17)
    with place.server(models, "--reload-interval-s", "0.1") as server, _asking(server) as asked:
        asked.add(MODEL, images, Engine(file, CPU).run(images))
        taken = []
        for version in (2, 3):
            began = time.monotonic()
            publish(file, file.parents[1], version)
            wait_until_served(server, MODEL, version, timeout_s=60)
            taken.append(round(time.monotonic() - began, 2))
    return {"publish_to_served_s": taken, **asked.verdict()}


def out_of_memory(place: Place) -> Figures:
    """While other programs hold the device's memory: calls are answered or fail by themselves, a new version is refused
    or served, nothing dies; afterwards all is as before."""
    place.require_cuda()
    models = place.folder / "memory"
    file = network.write(models, MODEL, place.size)
    images = network.pictures(64, place.size)
    index = int(place.device.options.get("device_id", "0"))
    outcomes: dict[str, int] = {}
    with place.server(models, "--reload-interval-s", "0.1") as server, channel(server) as connection:
        classify(connection, images)
        with _memory_taken(index) as said:
            publish(file, file.parents[1], 2)
            for _ in range(20):
                try:
                    classify(connection, images)
                    outcome = "OK"
                except grpc.RpcError as error:
                    outcome = error.code().name
                outcomes[outcome] = outcomes.get(outcome, 0) + 1
            assert server.is_running, "the server died"
            assert outcomes.keys() <= {"OK", "INTERNAL", "RESOURCE_EXHAUSTED"}, outcomes
        publish(file, file.parents[1], 3)
        wait_until_served(server, MODEL, 3, timeout_s=60)
        classify(connection, images)
    return {"other_program": said, "outcomes_meanwhile": outcomes}


def requests_per_s(place: Place) -> Figures:
    """Single images through the server, against onnxruntime alone at its best batch size."""
    images = network.pictures(64, place.size)
    requests = [ClassifyRequest(model=MODEL, top_k=1, pixels=Pixels(data=image.tobytes())) for image in images]
    messages = [request.SerializeToString() for request in requests]
    with place.server() as server:
        caller = Caller(connections=_CALLERS, processes=1)
        cost = measure_load(server, messages, _IN_FLIGHT if place.device.is_cuda else 16, place.seconds, caller)
    raw = max(raw_rates(place, place.file).values())
    return {
        "server_requests_per_s": round(cost.calls.calls_per_s),
        "onnxruntime_images_per_s": raw,
        "share": round(cost.calls.calls_per_s / raw, 3),
        "mean_batch": round(cost.mean_batch, 1),
        "server_cpu_us_per_request": round(cost.cpu_us, 1),
        "p50_ms": round(cost.service_us(50) / 1e3, 2),
        "p99_ms": round(cost.service_us(99) / 1e3, 2),
    }


class _Asked:
    """Callers that ask until the end, each for one model, and hold each answer against what it has to be."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._ending = threading.Event()
        self._threads: list[threading.Thread] = []
        self._answers: dict[str, int] = {}
        self._wrong: list[str] = []

    def add(self, model: str, images: NDArray[np.uint8], expected: NDArray[np.float32], callers: int = 4) -> None:
        for _ in range(callers):
            thread = threading.Thread(target=self._ask, args=(model, images, expected))
            self._threads.append(thread)
            thread.start()

    def end(self) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def verdict(self) -> Figures:
        """How many answers each model gave. Raises AssertionError for wrong ones."""
        assert self._wrong == []
        assert self._answers, "nobody was answered"
        return {"answers": dict(self._answers)}

    def _ask(self, model: str, images: NDArray[np.uint8], expected: NDArray[np.float32]) -> None:
        with channel(self._server) as connection:
            while not self._ending.is_set():
                try:
                    answer = classify(connection, images, model, network.CLASSES)
                except grpc.RpcError as error:
                    self._wrong.append(f"{model}: {error.code().name} {error.details()}")
                    return
                difference = float(np.abs(probabilities(answer, network.CLASSES) - expected).max())
                if not difference <= _TOLERANCE:
                    self._wrong.append(f"{model}: an answer differs by {difference:.1e}")
                    return
                self._answers[model] = self._answers.get(model, 0) + 1


@contextmanager
def _memory_taken(index: int) -> Iterator[str]:
    """While entered, another process holds all memory of a device that was free; what it says of that."""
    command = [sys.executable, "-m", "tests.gpu.hog", str(index)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


@contextmanager
def _asking(server: Server) -> Iterator[_Asked]:
    asked = _Asked(server)
    try:
        yield asked
    finally:
        asked.end()


def _sample(server: Server, name: str) -> float:
    assert server.metrics_url is not None
    page = text_string_to_metric_families(fetch(server.metrics_url))
    return next(sample.value for family in page for sample in family.samples if sample.name == name)
