"""A real server process whose models lie in a real S3 server: callers never notice what happens to the store."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from bench.processes import fetch, peak_bytes
from tests.conftest import WriteModel
from tests.server.remote.s3 import URL, Bucket, Proxy, sums_of

from covey_proto.v1 import classifier_pb2 as pb

REQUEST = pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(range(16))), top_k=1).SerializeToString()


class Server:
    """A covey-server on free ports, whose cache is `cache`."""

    def __init__(self, cache: Path, *flags: str) -> None:
        line = [sys.executable, "-m", "covey_server", "--models", URL, "--model-cache", str(cache), "--no-http"]
        line += ["--grpc-port", "0", "--metrics-port", "0", "--sync-interval-s", "0.1", "--reload-interval-s", "0.1"]
        self.popen = subprocess.Popen([*line, *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.log: list[str] = []

    def target(self) -> str:
        """Waits until it is ready; its gRPC address."""
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        match = re.match(r"covey-server ready grpc=(\S+) metrics=(\S+)", line)
        assert match is not None, line or self.popen.communicate()[1]
        self.metrics_url = f"http://{match[2]}/metrics"
        return match[1]

    def wait_for_log(self, text: str) -> None:
        """Reads its log until a line with the text comes."""
        assert self.popen.stderr is not None
        for line in self.popen.stderr:
            self.log.append(line)
            if text in line:
                return
        raise AssertionError(f"it ended without saying {text!r}: {''.join(self.log)}")

    def end(self) -> tuple[int, str]:
        """Waits for it; its exit code and its log."""
        _, rest = self.popen.communicate(timeout=120)
        return self.popen.returncode, "".join(self.log) + rest


StartServer = Callable[..., Server]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartServer]:
    """Starts servers with these flags; none outlives the test."""
    started: list[Server] = []

    def start_server(*flags: str) -> Server:
        started.append(Server(tmp_path / "cache", *flags))
        return started[-1]

    yield start_server
    for each in started:
        each.popen.kill()
        each.popen.communicate()


class Caller:
    """Calls without a pause until `stop`; the versions that answered, and what failed."""

    def __init__(self, target: str) -> None:
        self._channel = grpc.insecure_channel(target)
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary("/covey.v1.Classifier/Classify")
        self._call = call
        self.versions: list[int] = []
        self.failed: list[grpc.RpcError] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def ask(self) -> int:
        """The version that answers now."""
        return pb.ClassifyResponse.FromString(self._call(REQUEST, timeout=60)).version

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
        self._channel.close()

    def _run(self) -> None:
        while not self._stopping.wait(0.01):
            try:
                self.versions.append(self.ask())
            except grpc.RpcError as error:
                self.failed.append(error)


@pytest.fixture
def model(tmp_path: Path, write_echo_model: WriteModel) -> bytes:
    return write_echo_model(tmp_path / "made").read_bytes()


def test_callers_never_notice(start: StartServer, bucket: Bucket, proxy: Proxy, model: bytes) -> None:
    bucket.put_version("echo/1", {"model.onnx": model})
    server = start()
    caller = Caller(server.target())
    try:
        # A version is uploaded in halves: its sums name a report that comes last.
        files = {"model.onnx": model, "report.html": b"<html>"}
        bucket.put("echo/2/SHA256SUMS", sums_of(files))
        bucket.put("echo/2/model.onnx", model)
        server.wait_for_log("is not fetched yet: its SHA256SUMS names report.html")
        assert caller.ask() == 1
        bucket.put("echo/2/report.html", b"<html>")
        server.wait_for_log("model echo version 1 is unloaded")
        assert caller.ask() == 2

        # A version whose content is not what its sums say.
        bucket.put("echo/3/SHA256SUMS", b"0" * 64 + b"  model.onnx\n")
        bucket.put("echo/3/model.onnx", model)
        server.wait_for_log(f"{URL}/echo/3 is refused: model.onnx has the SHA-256")
        assert caller.ask() == 2

        # The store goes away and comes back.
        proxy.refuse = True
        proxy.drop_all()
        server.wait_for_log("cannot be read: ")
        assert caller.ask() == 2
        assert 'covey_models_sync_failures_total{reason="digest"} 1.0' in fetch(server.metrics_url)
        proxy.refuse = False
        server.wait_for_log("is back after")

        # A read hangs, and calls are answered meanwhile.
        proxy.open.clear()
        bucket.put_version("echo/4", {"model.onnx": model})
        assert proxy.held.wait(60)
        assert caller.ask() == 2
        proxy.open.set()
        server.wait_for_log("model echo version 2 is unloaded")
        assert caller.ask() == 4
    finally:
        caller.stop()
    server.popen.terminate()
    code, log = server.end()
    assert (code, caller.failed) == (0, [])
    assert caller.versions == sorted(caller.versions)
    assert len(caller.versions) > 10
    assert "s3cr3t" not in log
    assert "Traceback" not in log


def test_a_start_while_the_store_is_away_serves_the_cache(
    start: StartServer, bucket: Bucket, proxy: Proxy, model: bytes
) -> None:
    bucket.put_version("echo/1", {"model.onnx": model})
    bucket.put("echo/default-version", b"1")
    checked = start("--check")
    code, log = checked.end()
    assert code == 0, log
    assert f"{URL}/echo/1 is fetched" in log

    proxy.refuse = True
    server = start("--processes", "2")
    caller = Caller(server.target())
    caller.stop()
    server.popen.terminate()
    code, log = server.end()
    assert (code, caller.failed) == (0, []), log
    assert "serving the models in the cache" in log
    assert log.count("cannot be read: ") == 1, "one process looks"


def test_a_start_without_store_and_cache_fails(start: StartServer, proxy: Proxy) -> None:
    proxy.refuse = True
    code, log = start().end()
    assert code == 3
    assert f"covey-server: no model can be had from {URL}, tried 4 times: " in log
    assert "Traceback" not in log


def test_a_large_version_takes_no_memory(start: StartServer, bucket: Bucket, model: bytes) -> None:
    bucket.put_version("echo/1", {"model.onnx": model})
    server = start()
    caller = Caller(server.target())
    before = peak_bytes(server.popen.pid)
    bucket.put_version("echo/2", {"model.onnx": model, "report.html": bytes(96 << 20)})
    server.wait_for_log("model echo version 1 is unloaded")
    caller.stop()
    grown = peak_bytes(server.popen.pid) - before
    server.popen.terminate()
    assert server.end()[0] == 0
    assert caller.failed == []
    assert 0 < grown < 64 << 20, f"{grown:,}"
