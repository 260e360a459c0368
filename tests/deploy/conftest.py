"""What the tests of the deployment share: one Compose project of three servers and Prometheus, with a model that was
trained for a moment outside of it. Without a Docker engine they are skipped."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.deploy.compose import ROOT, Project, engine_answers

SERVERS = 3


@pytest.fixture(scope="session")
def engine() -> None:
    """Skips where no engine answers."""
    if not engine_answers():
        pytest.skip("needs a Docker engine that answers, and docker compose or docker-compose")


@pytest.fixture(scope="session")
def lenet(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A models folder with LeNet, as a tar archive."""
    folder = tmp_path_factory.mktemp("lenet")
    command = [sys.executable, "-m", "covey_export", "all", "lenet", "--dataset", "sample", "--epochs", "3"]
    command += ["--no-report", "--models", str(folder / "models"), "--checkpoints", str(folder / "checkpoints")]
    subprocess.run(command, check=True, capture_output=True)
    return packed(folder / "models")


def packed(folder: Path) -> bytes:
    """What is in a folder, as a tar archive of files that everybody may read."""

    def readable(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.mode = 0o755
        return member

    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, path.name, filter=readable)
    return archive.getvalue()


@pytest.fixture(scope="session")
def project(engine: None, lenet: bytes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Three healthy servers, and Prometheus, whose clock runs faster (`hastened`)."""
    folder = tmp_path_factory.mktemp("compose")
    override = folder / "docker-compose.json"  # JSON is YAML
    volumes = [f"{hastened(folder / 'prometheus')}:/etc/prometheus:ro"]
    override.write_text(json.dumps({"services": {"prometheus": {"volumes": volumes}}}))
    made = Project(f"covey-test-{os.getpid()}", override, COVEY_LOAD_SECONDS="20")
    try:
        made.run("--profile", "load", "build", "server", "load")
        made.fill_models(lenet)
        made.run("up", "--detach", "--no-deps", "--no-build", "--scale", f"server={SERVERS}", "server", "prometheus")
        made.wait_until_healthy(SERVERS)
        yield made
    finally:
        made.remove()


def hastened(folder: Path) -> Path:
    """Prometheus' configuration with seconds in place of minutes; the rules are the same otherwise."""
    folder.mkdir(mode=0o755)
    folder.parent.chmod(0o755)
    changes = (
        (r"15s", "1s"),
        (r"5s", "1s"),
        (r"\[5m\]", "[15s]"),
        (r"\[2h:1m\]", "[20s:1s]"),
        (r"for: \d+m", "for: 2s"),
    )
    for path in (ROOT / "deploy" / "prometheus").iterdir():
        text = path.read_text()
        for pattern, replacement in changes:
            text = re.sub(pattern, replacement, text)
        (folder / path.name).write_text(text)
    return folder
