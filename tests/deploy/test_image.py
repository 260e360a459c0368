"""The image of the server by itself: what it holds, whom it runs as, what it may use, and what it says when it cannot
start."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.deploy.callers import calling
from tests.deploy.compose import ROOT, TAG, Project, docker, failure, inspect, logs, wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]
BASE = "python:3.11-slim-bookworm"
IMAGE = f"covey-server:{TAG}"
ADDED_BYTES = 230_000_000
CONTAINED = ("--read-only", "--cap-drop", "ALL")
MEMORY_BYTES = 512 * 2**20

Start = Callable[..., str]

_OLDER_PYTHON = b"""\
FROM python:3.11-slim-bookworm
RUN mkdir /older && echo 'import sys; sys.version_info = (3, 10, 0, "final", 0)' >/older/sitecustomize.py
ENV PYTHONPATH=/older
"""


@pytest.fixture
def start(project: Project) -> Iterator[Start]:
    """Starts a server beside the project's own; it is gone after the test. Answers its name."""
    name = f"{project.name}-alone"

    def started(*flags: str, models: Path | None = None) -> str:
        volume = f"{models or f'{project.name}_models'}:/models:ro"
        network = f"{project.name}_default"
        docker("run", "--detach", "--name", name, "--network", network, "-v", volume, *CONTAINED, *flags, IMAGE)
        return name

    yield started
    subprocess.run(["docker", "rm", "--force", "--volumes", name], capture_output=True, check=False)


def end_of(container: str) -> tuple[int, str]:
    """The exit code of a container that ends by itself, and all it said."""
    return int(docker("wait", container)), logs(container)


def test_what_it_adds_to_its_base(project: Project) -> None:
    size, base = (json.loads(docker("image", "inspect", name))[0]["Size"] for name in (IMAGE, BASE))
    assert size - base < ADDED_BYTES


def test_it_holds_no_torch_no_compiler_and_no_cache(project: Project) -> None:
    look = (
        "import importlib.util as u, pathlib, shutil;"
        "print(u.find_spec('torch'), u.find_spec('pip'), shutil.which('gcc'), pathlib.Path('/root/.cache').exists())"
    )
    found = docker("run", "--rm", "--user", "0", "--entrypoint", "python3", IMAGE, "-c", look)
    assert found.split() == ["None", "None", "None", "False"]


def test_it_runs_as_a_user_of_its_own_who_can_change_nothing(project: Project) -> None:
    look = "import os; print(os.getuid(), os.getgid(), os.access('/opt/covey', os.W_OK), os.access('/', os.W_OK))"
    found = docker("run", "--rm", "--entrypoint", "python3", IMAGE, "-c", look)
    assert found.split() == ["10001", "10001", "False", "False"]


def test_one_core_gives_one_worker_and_the_memory_limit_holds_under_load(project: Project, start: Start) -> None:
    server = start("--cpus", "1", "--memory", str(MEMORY_BYTES), "--env", f"COVEY_MAX_BYTES={MEMORY_BYTES // 4}")
    wait_until(lambda: inspect(server)["State"]["Health"]["Status"] == "healthy", "it is healthy", timeout_s=60)
    assert "1 cores, 1 workers and 0 in reserve, 1 threads each" in logs(server)
    with calling(
        project, f"{server}:8001", threads=32, images=5_000, deadline_ms=60_000, retries=0
    ) as callers:  # 4 MB in each call
        wait_until(lambda: _images(server) > 100_000, "so many images computed", timeout_s=120)
    state = inspect(server)["State"]
    assert callers.answered
    assert {each.split(":")[0] for each in callers.failures} <= {"Overloaded"}, callers.failures  # within its bytes
    assert (state["Running"], state["OOMKilled"]) == (True, False)
    assert _most_memory_bytes(server) < MEMORY_BYTES
    docker("stop", server)
    assert inspect(server)["State"]["ExitCode"] == 0


def test_without_models_it_says_so(start: Start, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    code, said = end_of(start(models=tmp_path))
    assert code == 3
    assert "no model can be served from /models: it holds no NAME/VERSION/model.onnx" in said, said


def test_a_folder_of_another_user_is_told_from_an_empty_one(start: Start, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    code, said = end_of(start(models=tmp_path))
    assert code == 3
    assert "the models folder /models cannot be read: Permission denied" in said, said


def test_a_port_that_is_taken(project: Project) -> None:
    taken = project.published(project.containers("server")[0], 8001)
    assert "port is already allocated" in failure("docker", "run", "--rm", "-p", f"{taken}:8001", IMAGE)


def test_a_base_that_cannot_be(project: Project) -> None:
    build = ("docker", "build", "--force-rm", "--target", "server-cpu", str(ROOT), "--build-arg")
    assert "/bin/sh" in failure(*build, "PYTHON_IMAGE=scratch")
    older = f"covey-older-python:{TAG}"  # the same Python, which says that it is an older one
    docker("build", "--tag", older, "-", standard_input=_OLDER_PYTHON)
    try:
        said = failure(*build, f"PYTHON_IMAGE={older}")
    finally:
        docker("rmi", "--force", older)
    assert "Covey needs Python 3.11 or newer, PYTHON_IMAGE has 3.10" in said, said


def test_the_gpu_override_where_there_is_no_gpu(project: Project) -> None:
    """The engine refuses before it looks into the image, which here is the CPU's."""
    name = f"covey-server-gpu:{TAG}"
    gpu = Project(f"{project.name}-gpu", "docker-compose.gpu.yml")
    docker("tag", IMAGE, name)
    try:
        said = failure(*gpu.command, "up", "--detach", "--no-deps", "--no-build", "server", settings=gpu.settings)
    finally:
        gpu.remove()
        docker("rmi", name)
    assert 'could not select device driver "nvidia"' in said, said


def _images(container: str) -> float:
    """Images that a server has computed, asked from inside: it publishes no port."""
    program = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8002/metrics').read().decode())"
    page = docker("exec", container, "python3", "-c", program)
    return sum(float(line.split()[-1]) for line in page.splitlines() if line.startswith("covey_images_total{"))


def _most_memory_bytes(container: str) -> int:
    """The most that its control group has used, in version 1 or 2."""
    files = "/sys/fs/cgroup/memory.peak /sys/fs/cgroup/memory/memory.max_usage_in_bytes"
    return int(docker("exec", container, "sh", "-c", f"cat {files} 2>/dev/null || true"))
