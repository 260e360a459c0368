"""Owns the processes of a benchmark: starts servers, waits until they answer, reads their figures, stops them."""

from __future__ import annotations

import os
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
import psutil

from covey_load import observation
from covey_load.observation import family
from covey_proto.v1.classifier_pb2 import ClassifyRequest

SERVICE = "/covey.v1.Classifier"
CLASSIFY = f"{SERVICE}/Classify"
# What covey-server prints once it serves.
READY = re.compile(r"covey-server ready grpc=(?P<grpc>\S+) metrics=(?P<metrics>\S+)(?: http=(?P<http>\S+))?")
ROOT = Path(__file__).parent.parent
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 40
CALL_TIMEOUT_S = 10


class BenchError(Exception):
    """The benchmark cannot go on, in words for whoever started it."""


class Server:
    """A running server process that answers on `target`, and over HTTP on `http_target` if it is not empty. `start_s`
    is what it took to be ready."""

    def __init__(
        self,
        name: str,
        process: subprocess.Popen[str],
        target: str,
        metrics_url: str | None,
        start_s: float = 0.0,
        http_target: str = "",
    ) -> None:
        self.http_target = http_target
        self.name = name
        self.target = target
        self.metrics_url = metrics_url
        self.start_s = start_s
        self._process = process

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    def cpu_seconds(self) -> float:
        """CPU time used so far, by all threads and by the processes it started. Raises BenchError where it is gone."""
        with self._alive():
            times = [process.cpu_times() for process in family(self.pid)]
            return sum(cpu.user + cpu.system for cpu in times)

    def resident_bytes(self) -> int:
        """Resident memory, with that of the processes it started. Raises BenchError where it is gone."""
        with self._alive():
            return sum(resident_bytes(process.pid) for process in family(self.pid))

    @contextmanager
    def _alive(self) -> Iterator[None]:
        try:
            yield
        except psutil.NoSuchProcess as error:
            raise BenchError(f"{self.name} is gone: {error}") from error

    def batches(self) -> tuple[float, float]:
        """Number of batches run so far and of images in them, by the server's own metrics; zeros for an echo. Raises
        BenchError where they cannot be had."""
        if self.metrics_url is None:
            return 0.0, 0.0
        try:
            totals = observation.counters(self.metrics_url)
        except (OSError, ValueError) as error:
            raise BenchError(f"{self.name} is gone: {self.metrics_url} cannot be read ({error})") from error
        return totals.get("covey_batch_size_count", 0.0), totals.get("covey_batch_size_sum", 0.0)


def resident_bytes(pid: int) -> int:
    """Resident memory of a process alone. Raises psutil.NoSuchProcess where it is gone."""
    return int(psutil.Process(pid).memory_info().rss)


def peak_bytes(pid: int) -> int:
    """The most resident memory that a process had (VmHWM, which psutil does not tell); 0 where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def fetch(url: str) -> str:
    """The page at a URL of this machine. Raises OSError."""
    return observation.fetch(url, timeout_s=10)


@contextmanager
def echo_server(answer_bytes: int) -> Iterator[Server]:
    """The floor of the native front: answers every Classify with as many zero bytes."""
    command = [sys.executable, "-m", "bench.echo_server", "--method", CLASSIFY]
    command += ["--answer-bytes", str(answer_bytes)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        port = process.stdout.readline().strip()  # empty where it died
        if not port:
            raise BenchError(f"the echo server did not start: exit code {process.wait()}")
        yield Server("echo", process, f"127.0.0.1:{port}", None)
        process.stdin.close()
        process.wait(STOP_TIMEOUT_S)


@contextmanager
def covey_server(
    models: Path | str, front: str, log: Path, flags: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """The server under test, on free ports, once it says that it is ready. Writes its log to `log`.

    Raises:
        BenchError: it ended, or was not ready within a minute.
    """
    command = [sys.executable, "-m", "covey_server", "--models", str(models), "--front", front]
    command += ["--grpc-port", "0", "--http-port", "0", "--metrics-port", "0", *flags]
    began = time.monotonic()
    with started_server(command, log, environment) as (process, grpc_target, metrics_target, http_target):
        start_s = time.monotonic() - began
        metrics = f"http://{metrics_target}/metrics"
        yield Server(f"covey-server --front {front}", process, grpc_target, metrics, start_s, http_target)


@contextmanager
def started_server(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[str], str, str, str]]:
    """A process of covey-server once it says that it is ready, and where it listens for calls, for scrapes and for
    HTTP (empty without). Raises BenchError as covey_server."""
    with own_process(command, log, environment) as process:
        ports = READY.match(first_line(process, "covey-server", log))
        if ports is None:
            raise BenchError(f"{' '.join(command)} did not start:\n{tail(log)}")
        yield process, ports["grpc"], ports["metrics"], ports["http"] or ""


@contextmanager
def own_process(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A process whose standard error goes to `log`; on leaving it gets SIGTERM, then SIGKILL if that is not enough."""
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
            env={**os.environ, **(environment or {})},
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def wait_until(ready: Callable[[], bool], process: subprocess.Popen[str], name: str, log: Path) -> None:
    """Raises BenchError where the process ends before it is ready, or is not within a minute."""
    give_up = time.monotonic() + START_TIMEOUT_S
    while not ready():
        if process.poll() is not None or time.monotonic() > give_up:
            raise BenchError(f"{name} did not start:\n{tail(log)}")
        time.sleep(0.05)


def free_port() -> int:
    """Of this machine, for a server that cannot choose one."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def run_tool(arguments: Sequence[str], log: Path) -> None:
    """Runs a Python module to its end, its output in `log`. Raises BenchError where it fails."""
    with log.open("w") as output:
        code = subprocess.call([sys.executable, "-m", *arguments], cwd=ROOT, stdout=output, stderr=output)
    if code:
        raise BenchError(f"{' '.join(arguments)}: exit code {code}\n{tail(log)}")


def classify(server: Server, request: ClassifyRequest) -> bytes:
    """One call as any client makes it; returns the answer as it came. Raises BenchError where it fails."""
    with grpc.insecure_channel(server.target) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(CLASSIFY)
        try:
            return call(request.SerializeToString(), timeout=CALL_TIMEOUT_S)
        except grpc.RpcError as error:
            raise BenchError(f"{server.name} answers {error.code().name}: {error.details()}") from error


def first_line(process: subprocess.Popen[str], name: str, log: Path) -> str:
    """What a process says first; empty where it ended without a word. Raises BenchError after a minute of silence."""
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], START_TIMEOUT_S)
    if not readable:
        raise BenchError(f"{name} was not ready within {START_TIMEOUT_S} s:\n{tail(log)}")
    return process.stdout.readline()


def tail(log: Path) -> str:
    """The last lines of a log."""
    return "\n".join(log.read_text().splitlines()[-15:])
