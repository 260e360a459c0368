"""A Compose project as the tests drive it: by the commands a person types, on free ports, under a name of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TAG = "test"  # of the images; they stay, for the next run to build on
_PAUSE_S = 0.2


def engine_answers() -> bool:
    """Whether there is a Docker engine, and Compose in one of its two forms."""
    if shutil.which("docker") is None or _compose_command() is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0


def docker(*arguments: str, standard_input: bytes = b"") -> str:
    """What a docker command prints; fails the test, with the command's message, where it fails."""
    return _run(["docker", *arguments], standard_input)


def failure(*command: str, settings: Mapping[str, str] | None = None) -> str:
    """All that a command says which has to fail."""
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode != 0, f"it did not fail: {done.stdout}"
    return done.stdout + done.stderr


def logs(container: str) -> str:
    """All that a container has said."""
    done = subprocess.run(["docker", "logs", container], capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def inspect(container: str) -> dict[str, Any]:
    """All that Docker knows about a container."""
    found: dict[str, Any] = json.loads(docker("inspect", container))[0]
    return found


def wait_until(is_met: Callable[[], bool], what: str, timeout_s: float, found: object = "") -> float:
    """Looks again and again; the seconds it took. Fails the test after `timeout_s`, with what `found` is then."""
    began_s = time.monotonic()
    while not is_met():
        assert time.monotonic() - began_s < timeout_s, f"after {timeout_s:g} s still not: {what} {found}"
        threading.Event().wait(_PAUSE_S)
    return time.monotonic() - began_s


class Project:
    """One Compose project. `files` are those of the repository's Compose files that it takes."""

    def __init__(self, name: str, *files: Path | str, **settings: str) -> None:
        self.name = name
        ports = (
            "COVEY_GRPC_PORTS", "COVEY_HTTP_PORTS", "COVEY_METRICS_PORTS", "COVEY_EDGE_PORT", "PROMETHEUS_PORT",
            "GRAFANA_PORT",
        )  # fmt: skip
        free_ports = dict.fromkeys(ports, "0")
        self.settings = {**os.environ, "COVEY_TAG": TAG, **free_ports, **settings}
        command = _compose_command()
        assert command is not None
        self.command = [*command, "--project-name", name, "--project-directory", str(ROOT)]
        for file in ("docker-compose.yml", *files):
            self.command += ["--file", str(ROOT / file)]

    def run(self, *arguments: str) -> str:
        """What a Compose command prints; fails the test where it fails."""
        return _run([*self.command, *arguments], environment=self.settings)

    def containers(self, service: str) -> list[str]:
        """The ids of a service's containers, the stopped ones too."""
        label = "label=com.docker.compose"
        filters = (f"{label}.project={self.name}", f"{label}.service={service}")
        return docker("ps", "-aq", "--no-trunc", *(f"--filter={each}" for each in filters)).split()

    def published(self, container: str, port: int) -> str:
        """The address on this machine of a container's port."""
        return docker("port", container, str(port)).split()[0]

    def wait_until_healthy(self, count: int = 1, timeout_s: float = 60, service: str = "server") -> float:
        """Until so many containers of a service are healthy; the seconds it took."""
        return wait_until(lambda: self._healthy(service) == count, f"{count} of {service} healthy", timeout_s)

    def fill_models(self, archive: bytes) -> None:
        """Unpacks a tar archive in the volume of models, as the user of the images."""
        volume = f"{self.name}_models:/models"
        image = f"covey-server:{TAG}"
        docker("run", "--rm", "-i", "-v", volume, "--entrypoint", "tar", image, "-xC", "/models",
               standard_input=archive)  # fmt: skip

    def remove(self) -> None:
        """Takes away all that the project made but its images: they are the cache of the next one."""
        for container in docker("ps", "-aq", f"--filter=network={self.name}_default").split():
            docker("rm", "--force", "--volumes", container)
        profiles = [f"--profile={name}" for name in ("monitoring", "load", "edge")]
        self.run(*profiles, "down", "--volumes", "--remove-orphans", "-t", "1")

    def _healthy(self, service: str) -> int:
        states = [inspect(container)["State"] for container in self.containers(service)]
        return sum(state["Running"] and state["Health"]["Status"] == "healthy" for state in states)


def _compose_command() -> Sequence[str] | None:
    if shutil.which("docker") is not None:
        plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
        if plugin.returncode == 0:
            return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else None


def _run(command: Sequence[str], standard_input: bytes = b"", environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(command, input=standard_input, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout.decode()[-2000:]}{done.stderr.decode()[-4000:]}"
    return done.stdout.decode()
