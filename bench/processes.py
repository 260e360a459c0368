"""Owns the processes of a benchmark: starts them, waits until they answer, reads their CPU time, stops them.

CPU time is what the kernel has booked on a process (Linux, /proc), so it does not depend on who else
uses the machine as latency does.
"""

import json
import os
import re
import select
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
from prometheus_client.parser import text_string_to_metric_families

from bench.load_generator import LoadResult
from covey_proto.v1.classifier_pb2 import ClassifyRequest

CLASSIFY = "/covey.v1.Classifier/Classify"
# What covey-server prints once it serves.
READY = re.compile(r"covey-server ready grpc=(?P<grpc>\S+) metrics=(?P<metrics>\S+)")
ROOT = Path(__file__).parent.parent
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 40
# The SDK sends a deadline with every call, so the load does too.
CALL_TIMEOUT_S = 10


class BenchError(Exception):
    """The benchmark cannot go on, in words for whoever started it."""


class Server:
    """A running server process that answers Classify on `target`."""

    def __init__(self, name: str, process: "subprocess.Popen[str]", target: str, metrics_url: str | None) -> None:
        self.name = name
        self.target = target
        self._process = process
        self.metrics_url = metrics_url

    def cpu_seconds(self) -> float:
        """CPU time used so far, all threads, user and system (proc(5): fields 14 and 15 of stat)."""
        try:
            stat = Path(f"/proc/{self._process.pid}/stat").read_text()
        except FileNotFoundError as error:
            raise BenchError(f"{self.name} is gone, or this is not Linux: no {error.filename}") from error
        after_command = stat.rpartition(")")[2].split()  # from field 3 on; the command may hold blanks
        return (int(after_command[11]) + int(after_command[12])) / os.sysconf("SC_CLK_TCK")

    def batches(self) -> tuple[float, float]:
        """Number of batches run so far and of images in them, by the server's own metrics; zeros for an echo."""
        if self.metrics_url is None:
            return 0.0, 0.0
        text = fetch(self.metrics_url)
        totals = {"covey_batch_size_count": 0.0, "covey_batch_size_sum": 0.0}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name in totals:
                    totals[sample.name] += sample.value
        return totals["covey_batch_size_count"], totals["covey_batch_size_sum"]


def fetch(url: str) -> str:
    """The page at a URL of this machine, which no proxy of the user's stands before."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(url, timeout=10) as answer:
        text: str = answer.read().decode()
    return text


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
def covey_server(models: Path, front: str, log: Path) -> Iterator[Server]:
    """The server under test, on free ports, once it says that it is ready. Writes its log to `log`.

    Raises:
        BenchError: it ended, or was not ready within a minute.
    """
    command = [sys.executable, "-m", "covey_server", "--models", str(models), "--front", front]
    command += ["--grpc-port", "0", "--metrics-port", "0"]
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=output, text=True)
    try:
        ports = READY.match(_first_line(process, log))
        if ports is None:
            raise BenchError(f"covey-server --front {front} did not start:\n{_tail(log)}")
        yield Server(f"covey-server --front {front}", process, ports["grpc"], f"http://{ports['metrics']}/metrics")
    finally:
        process.terminate()
        try:
            process.communicate(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def put_load(server: Server, messages: Path, in_flight: int, seconds: float) -> LoadResult:
    """Runs the load generator against `server`, in a process of its own.

    Raises:
        BenchError: it could not, or a call failed: figures of failing calls mean nothing.
    """
    command = [sys.executable, "-m", "bench.load_generator", "--target", server.target, "--method", CLASSIFY]
    command += ["--messages", str(messages), "--seconds", str(seconds), "--in-flight", str(in_flight)]
    command += ["--timeout-s", str(CALL_TIMEOUT_S)]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise BenchError(f"load on {server.name}: {finished.stderr.strip()}")
    result = LoadResult(**json.loads(finished.stdout))
    if result.failures:
        raise BenchError(f"{server.name} failed {result.failures} of {result.calls} calls; its log may say why")
    return result


def run_tool(arguments: Sequence[str], log: Path) -> None:
    """Runs a Python module to its end, its output in `log`. Raises BenchError where it fails."""
    with log.open("w") as output:
        code = subprocess.call([sys.executable, "-m", *arguments], cwd=ROOT, stdout=output, stderr=output)
    if code:
        raise BenchError(f"{' '.join(arguments)}: exit code {code}\n{_tail(log)}")


def classify(server: Server, request: ClassifyRequest) -> bytes:
    """One call as any client makes it; returns the answer as it came. Raises BenchError where it fails."""
    with grpc.insecure_channel(server.target) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(CLASSIFY)
        try:
            return call(request.SerializeToString(), timeout=CALL_TIMEOUT_S)
        except grpc.RpcError as error:
            raise BenchError(f"{server.name} answers {error.code().name}: {error.details()}") from error


def _first_line(process: "subprocess.Popen[str]", log: Path) -> str:
    """What the process says first; empty where it ended without a word."""
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], START_TIMEOUT_S)
    if not readable:
        raise BenchError(f"covey-server was not ready within {START_TIMEOUT_S} s:\n{_tail(log)}")
    return process.stdout.readline()


def _tail(log: Path) -> str:
    return "\n".join(log.read_text().splitlines()[-15:])
