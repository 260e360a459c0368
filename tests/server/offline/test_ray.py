"""`covey batch --engine ray` on two nodes, which are two raylets on this machine: the rows of the local engine,
whatever is killed meanwhile. `make test-ray` installs Ray and runs these."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
from bench.processes import ROOT
from tests.conftest import WriteModel
from tests.server.offline.helpers import (
    COUNT,
    SMALL,
    batch,
    images,
    png,
    read,
    require_right,
    write_folder,
    write_parquet,
    write_tar,
)
from tests.waiting import wait_until

from covey_server.errors import CoveyServerError

pytestmark = [
    pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed: make test-ray"),
    pytest.mark.slow,
    pytest.mark.timeout(900),  # of Ray's processes each takes seconds to start, and there are ten
]
PATIENCE_S = 240


class Cluster(NamedTuple):
    """Two nodes; drivers connect to the other one than `node`."""

    address: str
    node: str
    raylet: int
    environment: dict[str, str]
    process: subprocess.Popen[str]

    def kill_node(self) -> None:
        """Returns once its raylet is gone."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print("kill", file=self.process.stdin, flush=True)
        assert self.process.stdout.readline() == "killed\n"

    def start(self, module: str, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", module, *map(str, arguments)]
        return subprocess.Popen(
            command, cwd=ROOT, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self, module: str, *arguments: object) -> tuple[int, str, str]:
        """The exit code, standard output and standard error."""
        process = self.start(module, *arguments)
        output, errors = finish(process)
        assert "Traceback" not in errors
        return process.returncode, output, errors

    def batch(self, *arguments: object) -> str:
        """What a run prints that succeeds."""
        code, output, errors = self.run("covey_server", "batch", *arguments, "--engine", "ray")
        assert code == 0, errors
        return output


@contextmanager
def started(**variables: str) -> Iterator[Cluster]:
    """A cluster whose own processes have these variables."""
    folder = tempfile.mkdtemp(prefix="covey-ray-", dir="/tmp")  # the path of a socket has at most 107 bytes
    environment = os.environ | {"RAY_TMPDIR": folder, "RAY_USAGE_STATS_ENABLED": "0"}
    environment.pop("RAY_ADDRESS", None)
    command = [sys.executable, "-m", "tests.server.offline.ray_cluster"]
    try:
        with subprocess.Popen(
            command, cwd=ROOT, env=environment | variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            yield Cluster(**json.loads(process.stdout.readline()), environment=environment, process=process)
            process.stdin.close()
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with started() as cluster:
        yield cluster


@pytest.mark.parametrize("kind", ["folder", "tar", "parquet"])
def test_rows_are_those_of_the_local_engine(kind: str, tmp_path: Path, model: Path, cluster: Cluster) -> None:
    """Also those of what is no image."""
    files = images(COUNT) | {"empty.png": b"", "large.png": png(2) + bytes(2000), "wrong.png": b"\xff\xd8 no JPEG"}
    match kind:
        case "folder":
            source = write_folder(tmp_path / "images", files)
            (source / "gone.png").symlink_to(tmp_path / "nowhere.png")
            os.mkfifo(source / "pipe.png")
        case "tar":
            source = write_tar(tmp_path / "images.tar", files)
        case _:
            source = write_parquet(tmp_path / "images.parquet", {**files, "null.png": None})
    arguments = (source, "--model", model, "--max-image-bytes", 1000, "--top-k", 2, "--probabilities", *SMALL, "--to")
    assert batch(*arguments, tmp_path / "local.csv") == 0
    output = cluster.batch(*arguments, tmp_path / "ray.csv")
    assert (tmp_path / "ray.csv").read_bytes() == (tmp_path / "local.csv").read_bytes()
    assert not (tmp_path / "ray.csv.parts").exists()
    assert " on cpu, " in output
    assert " by Ray, batches of 8" in output


def test_after_kill_9_either_engine_goes_on(tmp_path: Path, folder: Path, model: Path, cluster: Cluster) -> None:
    """The driver is killed with two parts finished, and again with three; the local engine does the rest."""
    arguments = (folder, "--model", model, *SMALL, "--to", tmp_path / "ray.csv")
    for renames, parts in ((5, 2), (2, 3)):  # the first is run.json, then two for each part
        code, *_ = cluster.run(
            "tests.server.offline.killed", "after", renames, int(signal.SIGKILL), *arguments, "--engine", "ray"
        )
        assert code == -signal.SIGKILL
        assert len(list(tmp_path.glob("ray.csv.parts/*.csv"))) == parts
    assert batch(*arguments) == 0
    assert batch(*arguments[:-1], tmp_path / "local.csv") == 0
    assert (tmp_path / "ray.csv").read_bytes() == (tmp_path / "local.csv").read_bytes()


def test_a_signal_ends_it_in_order(tmp_path: Path, folder: Path, model: Path, cluster: Cluster) -> None:
    arguments = (folder, "--model", model, *SMALL, "--to", tmp_path / "ray.jsonl")
    code, _, errors = cluster.run(
        "tests.server.offline.killed", "after", 5, int(signal.SIGTERM), *arguments, "--engine", "ray"
    )
    assert code == 130
    assert "covey-server: stopped. 16 images are done and kept in " in errors
    assert "16 images had been done before" in cluster.batch(*arguments)
    require_right(read(tmp_path / "ray.jsonl"), COUNT)


def test_a_node_killed_in_the_middle_loses_and_doubles_no_row(
    tmp_path: Path, folder: Path, model: Path, cluster: Cluster
) -> None:
    """It has one chunk at work, and the answers of others that nobody has fetched."""
    begun = tmp_path / "begun"
    begun.mkdir()
    arguments = (folder, "--model", model, *SMALL, "--probabilities", "--to")
    process = cluster.start(
        "tests.server.offline.ray_held", begun, cluster.node, *arguments, tmp_path / "ray.csv", "--engine", "ray"
    )
    try:
        wait_until(lambda: (begun / "held").exists() or process.poll() is not None, PATIENCE_S)
        assert process.poll() is None
        workers = psutil.Process(cluster.raylet).children(recursive=True)
        cluster.kill_node()
        (begun / "killed").touch()
    finally:
        _, errors = finish(process)
    assert process.returncode == 0, errors
    assert batch(*arguments, tmp_path / "local.csv") == 0
    assert (tmp_path / "ray.csv").read_bytes() == (tmp_path / "local.csv").read_bytes()
    chunks = len(list(begun.glob("*-*-*")))
    assert chunks >= 5 + 2, "the chunk that was at work and at least one that was answered were to be computed again"
    assert psutil.wait_procs(workers, timeout=60)[1] == []


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Standard output and standard error of a process, which is killed if it does not end."""
    try:
        return process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
        process.wait()


def test_refusals(tmp_path: Path, folder: Path, model: Path, cluster: Cluster, write_echo_model: WriteModel) -> None:
    skewed = write_echo_model(tmp_path / "skewed", wrong_golden=True)
    for options, code, text in (
        (("--model", model, "--ray-address", "127.0.0.1:1"), 2, "127.0.0.1:1: no cluster answers there: "),
        (("--model", model, "--ray-address", "nowhere"), 2, "expected HOST:PORT"),
        (("--model", model, "--ray-address", "ray://127.0.0.1:1"), 2, "Ray's client (ray://) is not used"),
        (("--model", model, "--device", "cuda"), 2, "on a Ray cluster models run on CPUs only"),
        (("--model", model, "--parallel", "threads"), 2, "workers are processes of Ray's"),
        (("--model", skewed), 3, f"{skewed}: "),
    ):
        to = tmp_path / "out.csv"
        refused, output, errors = cluster.run("covey_server", "batch", folder, *options, "--to", to, "--engine", "ray")
        assert (refused, output) == (code, "")
        assert text in errors
        assert len(errors.splitlines()) == 1
        assert not (tmp_path / "out.csv.parts").exists()


def test_a_node_without_covey_ends_it_with_a_sentence(tmp_path: Path, folder: Path, model: Path) -> None:
    hidden = write_folder(tmp_path / "path", {"covey_server/__init__.py": b"raise ImportError('no covey_server here')"})
    with started(PYTHONPATH=str(hidden)) as cluster:
        code, output, errors = cluster.run(
            "covey_server", "batch", folder, "--model", model, "--to", tmp_path / "out.csv", "--engine", "ray"
        )
    assert (code, output) == (6, "")
    assert "a node cannot run Covey: System error: no covey_server here. Expected covey-serve[cpu,ray] " in errors


def test_a_node_with_another_version_is_named(model: Path) -> None:
    from covey_server.inference.devices import CPU
    from covey_server.offline import ray_worker
    from covey_server.offline.worker import Settings

    settings = Settings(model, CPU, (), 10**6, 10**6, 0, 1, 8)
    setup: Any = ray_worker.Setup("0.0.1", settings, 0, None)
    with pytest.raises(CoveyServerError, match=r"the driver 0\.0\.1; expected the same on all nodes"):
        ray_worker.facts(setup)
