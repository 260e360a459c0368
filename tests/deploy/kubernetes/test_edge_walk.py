"""The edge's containers as the kubelet would treat them, before a real server."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.edges import nginx_is_there
from bench.processes import covey_server
from tests.certificates import Authority
from tests.conftest import WriteModel
from tests.deploy.compose import wait_until
from tests.deploy.kubernetes import rendering
from tests.deploy.kubernetes.kubelet import HOST, Container

import covey

TOKEN = "a-token-of-this-test-0123456789abcdef"
MOUNTS = ("certificates", "tokens")


@pytest.fixture
def own() -> Iterator[Path]:
    """For the edge's files: where root starts nginx, its workers are nobody's, and see no folder of pytest's."""
    with tempfile.TemporaryDirectory(prefix="covey-edge-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_the_edge_waits_for_a_server_and_tells_the_servers_end_from_its_own(
    own: Path, tmp_path: Path, write_echo_model: WriteModel
) -> None:
    if not nginx_is_there():
        pytest.skip("needs nginx (Debian: nginx-light)")
    write_echo_model(tmp_path / "models")
    authority = Authority(tmp_path / "certificates")
    pair = authority.sign("localhost", HOST)
    pair.certificate.rename(pair.certificate.with_name("tls.crt"))
    pair.key.rename(pair.key.with_name("tls.key"))
    (tmp_path / "tokens").mkdir()
    tokens = tmp_path / "tokens" / "tokens"
    tokens.write_text(TOKEN)
    tokens.chmod(0o600)
    manifest = rendering.the(rendering.kustomized("edge"), "Deployment", "covey-edge")
    pod = manifest["spec"]["template"]["spec"]
    flags = ("--auth-token-file", str(tokens))
    with covey_server(tmp_path / "models", "native", tmp_path / "server.log", flags) as server:
        assert server.metrics_url is not None
        here = {
            "COVEY_EDGE_SERVER": server.target.replace(HOST, "localhost"),
            "COVEY_EDGE_SERVER_STATUS": server.metrics_url.split("/")[2],
            "COVEY_EDGE_FOLDER": str(own / "edge"),
            "COVEY_EDGE_MESSAGES": str(own / "messages"),
        }
        waited = Container(pod, pod["initContainers"][0], {}, here).run()
        assert (waited.returncode, "localhost" in waited.stdout) == (0, True), waited.stdout
        here["COVEY_EDGE_SERVER"] = server.target
        edge = Container(pod, pod["containers"][0], {f"/{each}": tmp_path / each for each in MOUNTS}, here)
        edge.environment["COVEY_EDGE_LISTEN"] = f"{HOST}:{edge.ports[8443]}"
        edge.environment["COVEY_EDGE_STATUS_LISTEN"] = f"{HOST}:{edge.ports[8080]}"
        with edge.running(tmp_path / "edge.log") as process:
            wait_until(lambda: edge.succeeds("startup") or process.poll() is not None, "it has started", timeout_s=60)
            assert edge.succeeds("readiness"), (tmp_path / "edge.log").read_text()
            assert edge.succeeds("liveness")
            tls = covey.TLS(authority.certificate)
            with covey.Client(f"localhost:{edge.ports[8443]}", tls=tls, token=TOKEN, retries=0) as client:
                assert client.models()[0].name == "echo"
            os.kill(server.pid, signal.SIGTERM)
            wait_until(lambda: not edge.succeeds("readiness"), "it is not ready", timeout_s=60)
            assert edge.succeeds("liveness"), "an edge must not be restarted because a server is away"
            edge.stop()
            assert edge.wait() == 0, (tmp_path / "edge.log").read_text()
