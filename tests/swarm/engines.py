"""Three Docker engines on one machine, each in a network namespace of its own, joined by a bridge as machines are by a
switch. They form a swarm of three managers. Needs root, iproute2 and dockerd.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

NODES = (1, 2, 3)
_BRIDGE, _NETWORK = "coveyswarm", "10.77.0"
_STOP_S, _START_S = 20.0, 60.0
_PAUSE_S = 0.2


class Failed(Exception):
    """A command failed, or what was waited for did not happen."""


def missing() -> str:
    """Why this machine cannot have three engines; empty: it can."""
    if os.geteuid():
        return "needs root, to make network namespaces"
    absent = [name for name in ("dockerd", "docker", "ip", "nsenter", "iptables") if shutil.which(name) is None]
    return f"needs {', '.join(absent)}" if absent else ""


def address(node: int) -> str:
    return f"{_NETWORK}.{node}"


def wait_until(is_met: Callable[[], bool], what: str, timeout_s: float) -> float:
    """Looks again and again; the seconds it took. Raises Failed after `timeout_s`."""
    began_s = time.monotonic()
    while not is_met():
        if time.monotonic() - began_s > timeout_s:
            raise Failed(f"after {timeout_s:g} s still not: {what}")
        time.sleep(_PAUSE_S)
    return time.monotonic() - began_s


class Engines:
    """Started when made, all or none; `close` takes them and their network away again. `folder` holds their images and
    logs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._engines: dict[int, subprocess.Popen[bytes]] = {}
        _ip("link", "add", _BRIDGE, "type", "bridge")  # fails where others use it: theirs stays
        try:
            self._connect()
            self._join()
        except BaseException:
            self.close()
            raise

    def docker(self, node: int, *arguments: str, settings: dict[str, str] | None = None) -> str:
        """What a docker command prints on a node. Raises Failed."""
        return _run("docker", "--host", f"unix://{self._socket(node)}", *arguments, settings=settings)

    def answers(self, node: int) -> bool:
        """Whether its engine does."""
        with contextlib.suppress(Failed):
            self.docker(node, "info")
            return True
        return False

    def start(self, node: int) -> None:
        """Starts an engine and waits until it answers; one that was in the swarm takes its place in it again."""
        root = self.folder / str(node)
        (root / "exec").mkdir(parents=True, exist_ok=True)
        flags = f"--data-root {root}/data --exec-root {root}/exec --host unix://{self._socket(node)}"
        flags += f" --pidfile {root}/pid --userland-proxy=false"
        (root / "pid").unlink(missing_ok=True)
        command = ["nsenter", f"--net=/var/run/netns/{_namespace(node)}", "unshare", "--uts", "sh", "-c"]
        command.append(f"hostname node{node} && exec dockerd {flags}")
        with (root / "log").open("ab") as log:
            self._engines[node] = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        wait_until(lambda: self.answers(node), f"the engine of node {node} answers ({root / 'log'})", _START_S)

    def kill(self, node: int) -> None:
        """As when its power fails: SIGKILL to the engine and to every process of its containers, at once."""
        below = str(self.folder / str(node))
        processes = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and _is_of(path, below)]
        for container in self.docker(node, "ps", "--quiet").split():
            processes.append(json.loads(self.docker(node, "inspect", container))[0]["State"]["Pid"])
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._engines.pop(node).wait()

    def cut_off(self, node: int) -> None:
        """As when its cable is pulled: packets vanish, nobody is told."""
        _ip("link", "set", _namespace(node), "down")

    def connect_again(self, node: int) -> None:
        """After `cut_off`."""
        _ip("link", "set", _namespace(node), "up")

    def load(self, image: str, *names: str) -> None:
        """Copies an image of this machine's engine to all nodes, under these names too."""
        archive = self.folder / "image.tar"
        _run("docker", "save", image, "--output", str(archive))
        for node in NODES:
            self.docker(node, "load", "--quiet", "--input", str(archive))
            for name in names:
                self.docker(node, "tag", image, name)
        archive.unlink()

    def close(self) -> None:
        """Ends the engines and takes away the network. Files stay in `folder`."""
        for node in list(self._engines):
            with contextlib.suppress(Failed):
                self.docker(node, "swarm", "leave", "--force")
        for engine in self._engines.values():
            engine.terminate()
        for engine in self._engines.values():
            try:
                engine.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                engine.kill()
                engine.wait()
        mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for mount in reversed([path for path in mounts if path.startswith(f"{self.folder}/")]):
            with contextlib.suppress(Failed):  # of containers that were killed
                _run("umount", "--lazy", mount)
        for node in NODES:
            with contextlib.suppress(Failed):
                _ip("netns", "delete", _namespace(node))
        for direction in ("-i", "-o"):
            with contextlib.suppress(Failed):
                _forward("--delete", direction)
        with contextlib.suppress(Failed):
            _ip("link", "delete", _BRIDGE)

    def _connect(self) -> None:
        _ip("addr", "add", f"{_NETWORK}.254/24", "dev", _BRIDGE)
        _ip("link", "set", _BRIDGE, "up")
        for direction in ("-i", "-o"):  # an engine of this machine may forbid it
            _forward("--insert", direction)
        for node in NODES:
            name = _namespace(node)
            _ip("netns", "add", name)
            _ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("link", "set", name, "master", _BRIDGE, "up")
            _ip("-n", name, "addr", "add", f"{address(node)}/24", "dev", "eth0")
            for device in ("eth0", "lo"):
                _ip("-n", name, "link", "set", device, "up")
            _ip("-n", name, "route", "add", "default", "via", f"{_NETWORK}.254")
            self.start(node)

    def _join(self) -> None:
        self.docker(1, "swarm", "init", "--advertise-addr", address(1))
        token = self.docker(1, "swarm", "join-token", "--quiet", "manager").strip()
        for node in NODES[1:]:
            self.docker(
                node, "swarm", "join", "--token", token, "--advertise-addr", address(node), f"{address(1)}:2377"
            )

    def _socket(self, node: int) -> Path:
        return self.folder / str(node) / "socket"


def _namespace(node: int) -> str:
    return f"{_BRIDGE}{node}"


def _forward(change: str, direction: str) -> None:
    _run("iptables", change, "FORWARD", direction, _BRIDGE, "--jump", "ACCEPT")


def _is_of(process: Path, folder: str) -> bool:
    """Whether a process was started with a path of this folder: the engine, containerd and its shims were."""
    try:
        return folder.encode() + b"/" in process.joinpath("cmdline").read_bytes()
    except OSError:
        return False


def _ip(*arguments: str) -> None:
    _run("ip", *arguments)


def _run(*command: str, settings: dict[str, str] | None = None) -> str:
    environment = {**os.environ, **(settings or {})}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise Failed(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout
