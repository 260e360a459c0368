"""The profile `edge` as Compose starts it: TLS, mutual TLS and tokens before a server of 512 MB; attacks on both."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from bench.processes import CLASSIFY
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.certificates import Authority, Pair
from tests.deploy.compose import ROOT, Project, docker, inspect, logs, wait_until
from tests.edge.raw import raw_connection

import covey

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]
HOST = "127.0.0.1"
TOKEN = "a-token-of-this-test-0123456789abcdef"
SHADES = np.random.default_rng(3).integers(0, 256, (28, 28, 1), dtype=np.uint8)
PROMISE = b"\0" + struct.pack(">I", 2**32 - 1)
MEGABYTE = 10**6


class Guarded:
    """The project's edge, with whom its callers trust and what they bring."""

    def __init__(self, project: Project, authority: Authority, caller: Pair) -> None:
        self.project = project
        self.authority = authority
        self.caller = caller
        (self.server,), (self.edge,) = project.containers("server"), project.containers("edge")
        self.target = f"{HOST}:{project.published(self.edge, 8443).rpartition(':')[2]}"

    def client(self, *, token: str = TOKEN, certificate: bool = True) -> covey.Client:
        """The SDK on this machine."""
        caller = self.caller if certificate else ()
        return covey.Client(self.target, tls=covey.TLS(self.authority.certificate, *caller), token=token, retries=0)

    def channel(self) -> grpc.Channel:
        """gRPC itself, with a certificate."""
        certificate, key = (path.read_bytes() for path in self.caller)
        credentials = grpc.ssl_channel_credentials(self.authority.certificate.read_bytes(), key, certificate)
        return grpc.secure_channel(self.target, credentials)


@pytest.fixture(scope="module")
def guarded(engine: None, lenet: bytes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """Healthy, with a model; callers need a certificate and a token."""
    folder = tmp_path_factory.mktemp("edge")
    authority = Authority(folder / "certificates")
    pair, caller = authority.sign(HOST), authority.sign("caller", file="caller")
    tokens = folder / "tokens"
    tokens.mkdir()
    (tokens / "tokens").write_text(TOKEN)
    for path in (folder, folder.parent, authority.certificate.parent, tokens):
        path.chmod(0o755)
    os.chown(pair.key, 10001, 10001)
    project = Project(
        f"covey-test-edge-{os.getpid()}",
        COVEY_CERTIFICATES=str(authority.certificate.parent),
        COVEY_EDGE_CLIENT_CA="/certificates/authority.pem",
        COVEY_TOKENS=str(tokens),
        COVEY_AUTH_TOKEN_FILE="/tokens/tokens",
    )
    try:
        project.run("--profile", "edge", "build", "server", "edge")
        project.fill_models(lenet)
        project.run("--profile", "edge", "up", "--detach", "--no-deps", "--no-build", "server")
        project.wait_until_healthy()
        project.run("--profile", "edge", "up", "--detach", "--no-deps", "--no-build", "edge")
        project.wait_until_healthy(service="edge")
        yield Guarded(project, authority, caller)
    finally:
        project.remove()


def test_the_sdk_with_certificate_and_token_classifies_and_streams(guarded: Guarded) -> None:
    with guarded.client() as client:
        expected = client.classify(SHADES).label
        assert {each.label for _, each in client.classify_stream((n, SHADES) for n in range(200))} == {expected}
    with guarded.client(token="another") as client, pytest.raises(covey.Unauthenticated, match="a valid token"):
        client.classify(SHADES)
    with guarded.client(certificate=False) as client, pytest.raises(covey.Unauthenticated, match="need a certificate"):
        client.classify(SHADES)


def test_health_is_told_and_watched(guarded: Guarded) -> None:
    with guarded.channel() as channel:
        stub, request = health_pb2_grpc.HealthStub(channel), health_pb2.HealthCheckRequest()
        token = (("authorization", f"Bearer {TOKEN}"),)
        assert stub.Check(request, timeout=20, metadata=token).status == health_pb2.HealthCheckResponse.SERVING
        watch = stub.Watch(request, timeout=20, metadata=token)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()


def test_tritonclient_calls_and_streams_with_certificate_and_token(guarded: Guarded) -> None:
    with guarded.client() as client:
        expected = client.classify(np.full((28, 28, 1), 128, np.uint8)).label
    command = [sys.executable, "-m", "tests.deploy.triton_through_edge", guarded.target]
    command += [str(guarded.authority.certificate), str(guarded.caller.key), str(guarded.caller.certificate), TOKEN]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.split()) == (0, [expected] * 4), done.stderr


def test_it_runs_as_a_user_of_its_own_who_can_change_nothing(guarded: Guarded) -> None:
    look = "import os; print(os.getuid(), os.access('/opt/covey', os.W_OK), os.access('/certificates', os.W_OK))"
    assert docker("exec", guarded.edge, "python3", "-c", look).split() == ["10001", "False", "False"]


def test_its_figures_are_there_for_prometheus(guarded: Guarded) -> None:
    look = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8080/metrics').read().decode())"
    page = docker("exec", guarded.edge, "python3", "-c", look)
    assert 'covey_refused_total{reason="token"}' in page
    assert "covey_certificate_expiry_timestamp_seconds 3" in page


def test_attacks_end_at_the_edge(guarded: Guarded) -> None:
    """Without a certificate and a token: promises of 4 GB, then, with both, 64 halves of messages of 60 MB."""
    before = _resident_bytes(guarded.server)
    with raw_connection(guarded.target) as stranger:
        taken = stranger.body(stranger.call(CLASSIFY), PROMISE + bytes(10 * MEGABYTE), end=False)
        assert taken < 200_000
    with raw_connection(guarded.target, pair=guarded.caller) as caller:
        header = [("authorization", f"Bearer {TOKEN}")]
        for _ in range(64):  # what its file system of 256 MB does not hold is read and dropped
            caller.body(caller.call(CLASSIFY, header), PROMISE + bytes(30 * MEGABYTE), end=False)
        with guarded.client() as client:
            assert client.classify(SHADES).label
        assert _resident_bytes(guarded.server) - before < 32 * MEGABYTE
    for container in (guarded.server, guarded.edge):
        state = inspect(container)["State"]
        assert (state["Running"], state["OOMKilled"]) == (True, False), logs(container)
        assert inspect(container)["RestartCount"] == 0


def test_a_renewed_certificate_is_taken_up(guarded: Guarded) -> None:
    os.chown(guarded.authority.sign(HOST).key, 10001, 10001)
    wait_until(lambda: "configured anew" in logs(guarded.edge), "a new configuration", timeout_s=30)
    with guarded.client() as client:
        assert client.classify(SHADES).label


def test_a_stopped_server_makes_it_unhealthy_and_a_started_one_healthy(guarded: Guarded) -> None:
    docker("stop", guarded.server)
    wait_until(lambda: inspect(guarded.edge)["State"]["Health"]["Status"] == "unhealthy", "unhealthy", timeout_s=60)
    with guarded.client() as client, pytest.raises(covey.Unavailable, match="reaches no server"):
        client.classify(SHADES)
    docker("start", guarded.server)
    guarded.project.wait_until_healthy(service="edge")
    with guarded.client() as client:
        assert client.classify(SHADES).label


def _resident_bytes(container: str) -> int:
    """Of all its processes."""
    pids = docker("top", container, "-eo", "pid").split()[1:]
    total = 0
    for pid in pids:
        status = Path(f"/proc/{pid}/status").read_text()
        total += sum(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))
    return total
