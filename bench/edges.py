"""Owns an edge as a process: nginx before a server, with TLS, where nginx is installed."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench.processes import Server, free_port, own_process, peak_bytes, wait_until
from covey_load.observation import family

HOST = "127.0.0.1"


class Edge(Server):
    """A running edge: callers reach it at `target`, its figures at `metrics_url`."""

    def __init__(self, process: subprocess.Popen[str], port: int, status_port: int) -> None:
        super().__init__("edge", process, f"{HOST}:{port}", f"http://{HOST}:{status_port}/metrics")
        self.readiness_url = f"http://{HOST}:{status_port}/readyz"

    def resident_bytes(self) -> int:
        """The resident memory of nginx's processes and their keeper."""
        return sum(process.memory_info().rss for process in family(self.pid))

    def peak_bytes(self) -> int:
        """The peak memory of each of them, added up."""
        return sum(peak_bytes(process.pid) for process in family(self.pid))

    def batches(self) -> tuple[float, float]:
        """Zeros: it runs none."""
        return 0.0, 0.0


def nginx_is_there() -> bool:
    """Whether an edge can be started here."""
    return shutil.which("nginx") is not None


@contextmanager
def edge_before(
    target: str,
    metrics_url: str | None,
    certificate: Path,
    key: Path,
    folder: Path,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Edge]:
    """An edge on free ports before the native front at `target`, which speaks plaintext, once it shakes hands. Its log,
    `edge.log`, goes to `folder`; `settings` are those of deploy/edge, by their variables.

    Raises:
        BenchError: it ended, or was not there within a minute.
    """
    assert metrics_url is not None
    port, status_port = free_port(), free_port()
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "edge.log"
    with tempfile.TemporaryDirectory(prefix="covey-edge-") as own_folder:
        Path(own_folder).chmod(0o755)  # where root starts nginx, its workers are nobody's
        environment = {
            "COVEY_EDGE_LISTEN": f"{HOST}:{port}",
            "COVEY_EDGE_STATUS_LISTEN": f"{HOST}:{status_port}",
            "COVEY_EDGE_SERVER": target,
            "COVEY_EDGE_SERVER_STATUS": metrics_url.split("/")[2],
            "COVEY_EDGE_CERTIFICATE": str(certificate),
            "COVEY_EDGE_KEY": str(key),
            "COVEY_EDGE_FOLDER": f"{own_folder}/edge",
            "COVEY_EDGE_MESSAGES": f"{own_folder}/messages",
            "COVEY_EDGE_WORKERS": "1",
            **(settings or {}),
        }
        with own_process([sys.executable, "-m", "deploy.edge"], log, environment) as process:
            wait_until(lambda: _shakes_hands(port), process, "the edge", log)
            yield Edge(process, port, status_port)


def _shakes_hands(port: int) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection((HOST, port), 1) as plain, context.wrap_socket(plain):
            return True
    except OSError:
        return False
