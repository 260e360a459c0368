"""What a kubelet does with a container, done with a process on this machine: it starts the image's entry point with the
container's arguments and environment, probes it, and ends it. Mounts are folders, ports are free ones."""

from __future__ import annotations

import http.client
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from bench.processes import free_port, own_process
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.deploy.compose import ROOT
from tests.deploy.kubernetes.rendering import Manifest, tool

HOST = "127.0.0.1"
# Where an image's commands are on this machine.
_COMMANDS = {
    "covey-server": [sys.executable, "-m", "covey_server"],
    "python3": [sys.executable],
    "export-missing": ["sh", str(ROOT / "deploy" / "export_missing.sh")],
}
_EDGE = ROOT / "deploy" / "edge" / "Dockerfile"
_STAGES = {"covey-server": "server-cpu", "covey-server-gpu": "server-gpu", "covey-export": "export"}


@dataclass(frozen=True)
class Image:
    """What a container inherits: the command, and variables."""

    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)


def image(reference: str) -> Image:
    """Of one of Covey's images, as its Dockerfile says; of rclone's."""
    name = reference.rpartition(":")[0].rpartition("/")[2]
    if name == "rclone":
        return Image(["rclone"])
    text = _EDGE.read_text() if name == "covey-edge" else _stage(_STAGES[name])
    text = text.replace("\\\n", " ")
    (command,) = re.findall(r"^ENTRYPOINT (.+)$", text, re.MULTILINE) or re.findall(r"^CMD (.+)$", text, re.MULTILINE)
    variables = [part.split("=", 1) for line in re.findall(r"^ENV (.+)$", text, re.MULTILINE) for part in line.split()]
    return Image([part.strip('"') for part in shlex.split(command.strip("[]").replace(",", " "))], dict(variables))


def _stage(target: str) -> str:
    """The lines of one stage of the Dockerfile."""
    (found,) = re.findall(rf"^FROM \S+ AS {target}$(.+?)(?=^FROM |\Z)", (ROOT / "Dockerfile").read_text(), re.M | re.S)
    return str(found)


class Container:
    """One container of a pod. `folders`: what is mounted, by mount path."""

    def __init__(
        self, pod: Manifest, spec: Manifest, folders: Mapping[str, Path], settings: Mapping[str, str] | None = None
    ) -> None:
        """`settings`: variables that this machine, or a test, needs beside those of the container."""
        self.spec, self._folders = spec, folders
        self._grace_s: int = pod.get("terminationGracePeriodSeconds", 30)
        self._pre_stop_s: int = spec.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        self.ports: dict[int, int] = {each["containerPort"]: free_port() for each in spec.get("ports", ())}
        self._names = {each["name"]: each["containerPort"] for each in spec.get("ports", ())}
        own = image(spec["image"])
        declared = {each["name"]: each["value"] for each in spec.get("env", ())}
        told = {name: self._here(value) for name, value in (own.environment | declared).items()}
        self.environment = {**told, **(settings or {})}
        command = spec.get("command") or own.command
        words = [*command, *(self._here(each) for each in spec.get("args", ()))]
        self.command = [*(_COMMANDS.get(words[0]) or [tool(words[0]) or words[0]]), *words[1:]]
        self.process: subprocess.Popen[str] | None = None
        self._killed_s = 0.0

    @contextmanager
    def running(self, log: Path) -> Iterator[subprocess.Popen[str]]:
        """The process, from its start on; it is gone at the end."""
        with own_process(self.command, log, self.environment) as self.process:
            yield self.process

    def run(self, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """For a container that ends by itself, as those of a Job and before the others do."""
        return subprocess.run(
            self.command,
            cwd=ROOT,
            env={**os.environ, **self.environment},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
            check=False,
        )

    def succeeds(self, probe: str) -> bool:
        """What one `startup`, `readiness` or `liveness` probe finds."""
        how = self.spec[f"{probe}Probe"]
        timeout_s = how.get("timeoutSeconds", 1)
        if "grpc" in how:
            return self._health(how["grpc"]["port"], how["grpc"].get("service", ""), timeout_s)
        port = how["httpGet"]["port"]
        return self._get(self._names.get(port, port), how["httpGet"]["path"], timeout_s)

    def stop(self) -> None:
        """SIGTERM, which comes after preStop."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self._killed_s = time.monotonic() + self._grace_s - self._pre_stop_s

    def wait(self) -> int | None:
        """The exit code; None where it outlives its grace, and the kubelet would kill it."""
        assert self.process is not None
        try:
            return self.process.wait(max(0.0, self._killed_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            return None

    def _get(self, port: int, path: str, timeout_s: float) -> bool:
        connection = http.client.HTTPConnection(HOST, self.ports.get(port, port), timeout=timeout_s)
        try:
            connection.request("GET", path)
            return 200 <= connection.getresponse().status < 400
        except OSError:
            return False
        finally:
            connection.close()

    def _health(self, port: int, service: str, timeout_s: float) -> bool:
        """As Kubernetes' own gRPC probe: plaintext, without metadata."""
        with grpc.insecure_channel(f"{HOST}:{self.ports.get(port, port)}") as channel:
            request = health_pb2.HealthCheckRequest(service=service)
            try:
                answer: Any = health_pb2_grpc.HealthStub(channel).Check(request, timeout=timeout_s)
            except grpc.RpcError:
                return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def _here(self, text: str) -> str:
        """A path below a mount path, where it is on this machine."""
        for mount, folder in self._folders.items():
            if text == mount or text.startswith(f"{mount}/"):
                return f"{folder}{text[len(mount) :]}"
        return text
