"""A server as a container holds it: process 1 of its own, a read-only root file system, no capabilities. By namespaces
of the kernel, without an image; test_image.py does it with one."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
from bench.processes import READY, first_line, own_process
from tests.conftest import WriteModel
from tests.deploy.compose import ROOT
from tests.deploy.kubernetes.kubelet import HOST
from tests.deploy.kubernetes.test_walk import Pod

NAMESPACES = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
PNG = (ROOT / "docs" / "digit.png").read_bytes()
# The folder of the test is as a volume, and may be written to; /dev/shm may, as in containers.
CONTAINED = """
set -e
mount --make-rprivate /
mount --bind "$1" "$1"
mount -o remount,ro,bind /
if touch "/written-$$" 2>/dev/null; then echo "the root can be written to" >&2; exit 99; fi
shift
exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""


@pytest.fixture
def namespaces() -> None:
    """Skips where they cannot be had."""
    if os.geteuid() or not shutil.which("setpriv") or subprocess.run([*NAMESPACES, "true"], check=False).returncode:
        pytest.skip("needs root, and namespaces of mounts and processes")


def test_process_1_with_a_read_only_root_and_no_capabilities_serves_and_ends(
    namespaces: None, tmp_path: Path, write_echo_model: WriteModel
) -> None:
    pod = Pod("overlay cpu", tmp_path, write_echo_model)
    container = pod.container
    container.environment["TMPDIR"] = "/dev/shm"  # as the image says
    command = [*NAMESPACES, "bash", "-c", CONTAINED, "bash", str(tmp_path), *container.command]
    with own_process(command, pod.log, container.environment) as process:
        assert READY.match(first_line(process, "the server", pod.log)), pod.log.read_text()
        (server,) = psutil.Process(process.pid).children()
        status = Path(f"/proc/{server.pid}/status").read_text().split("\n")
        held = dict(
            line.split(":\t") for line in status if line.startswith(("NSpid", "CapEff", "CapBnd", "NoNewPrivs"))
        )
        assert held["NSpid"].split()[-1] == "1"
        assert (int(held["CapEff"], 16), int(held["CapBnd"], 16), held["NoNewPrivs"]) == (0, 0, "1")
        assert pod.probes() == (True, True, True)
        connection = http.client.HTTPConnection(HOST, container.ports[8000], timeout=60)
        connection.request("POST", "/v1/models/echo/classify", body=PNG, headers={"Content-Type": "image/png"})
        assert connection.getresponse().status == 200
        connection.close()
        os.kill(server.pid, signal.SIGTERM)
        assert process.wait(60) == 0, pod.log.read_text()
