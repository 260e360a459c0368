"""Triton's own client, sync and asyncio, unmodified, against a server process on each front."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import WriteModel
from tests.server.conftest import write_standard_models

ROOT = Path(__file__).parents[3]
# Importing triton_calls here would register package `inference` a second time.
CHECKS = re.findall(r"^def check_(\w+)\(", (Path(__file__).parent / "triton_calls.py").read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def address(front: str, tmp_path_factory: pytest.TempPathFactory, write_echo_model: WriteModel) -> Iterator[str]:
    """Of a covey-server with the standard models."""
    models = tmp_path_factory.mktemp("models")
    write_standard_models(models, write_echo_model)
    command = [sys.executable, "-m", "covey_server", "--models", str(models), "--default-model", "echo"]
    command += ["--grpc-port", "0", "--metrics-port", "0", "--front", front]
    command += ["--allow-management", "--log-level", "error"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        ready = re.match(r"covey-server ready grpc=(\S+) ", server.stdout.readline())
        assert ready is not None
        yield ready[1]
        server.terminate()
        assert server.wait(30) == 0


@pytest.fixture(scope="module")
def outcomes(address: str) -> dict[str, str]:
    """What each check failed with; nothing where all was as expected. One process makes all of them."""
    command = [sys.executable, "-m", "tests.server.protocols.triton_calls", address]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("check", CHECKS)
def test_tritonclient_gets_what_it_asks_for(outcomes: dict[str, str], check: str) -> None:
    assert outcomes[check] == ""


def test_all_checks_are_found() -> None:
    assert len(CHECKS) == 11
