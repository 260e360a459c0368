"""The real code of 0.1.0, from git's history, beside the present one, with the packages that are installed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from bench.processes import ROOT, started_server
from tests.compatibility import released
from tests.compatibility.conversation import TOKEN

pytestmark = pytest.mark.release


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources of 0.1.0."""
    command = ["git", "archive", released.COMMIT, *released.PACKAGES]
    archive = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip(f"this clone has no commit {released.COMMIT}, which stands for 0.1.0: {archive.stderr.decode()}")
    place = tmp_path_factory.mktemp("v0_1_0")
    subprocess.run(["tar", "-x"], input=archive.stdout, cwd=place, check=True)
    return place


def conversation(server_tree: Path, client_tree: Path, place: Path) -> Any:  # noqa: ANN401 - of JSON
    """What one tree's SDK gets from the other one's server, which serves the model files of 0.1.0."""
    tokens = place / "tokens"
    tokens.write_text(TOKEN + "\n")
    tokens.chmod(0o600)
    command = [sys.executable, "-m", "covey_server", "--models", str(released.MODELS), "--auth-token-file", str(tokens)]
    environment: Mapping[str, str] = released.environment(server_tree) | {
        f"COVEY_{name}_PORT": "0" for name in ("GRPC", "HTTP", "METRICS")
    }
    with started_server(command, place / "log", environment) as (_, target, _, _):
        said = subprocess.run(
            [sys.executable, str(released.CONVERSATION), target, str(released.IMAGES)],
            cwd=place,
            env=released.environment(client_tree),
            capture_output=True,
            text=True,
            check=False,
        )
    assert said.returncode == 0, said.stderr
    return json.loads(said.stdout)


def test_its_sdk_calls_the_present_server(tree: Path, tmp_path: Path) -> None:
    found = conversation(server_tree=ROOT, client_tree=tree, place=tmp_path)
    assert released.differences(json.loads(released.RESULTS.read_text()), found, released.TOLERANCE) == []


def test_the_present_sdk_calls_its_server(tree: Path, tmp_path: Path) -> None:
    found = conversation(server_tree=tree, client_tree=ROOT, place=tmp_path)
    assert released.differences(json.loads(released.RESULTS.read_text()), found, released.TOLERANCE) == []
