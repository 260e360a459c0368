"""The real code of 0.1.0, from git's history, beside the present one, with the packages that are installed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from bench.processes import ROOT
from tests.compatibility import released, source_trees

pytestmark = pytest.mark.release


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources of 0.1.0."""
    command = ["git", "archive", released.COMMIT, *source_trees.PACKAGES]
    archive = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip(f"this clone has no commit {released.COMMIT}, which stands for 0.1.0: {archive.stderr.decode()}")
    place = tmp_path_factory.mktemp("v0_1_0")
    subprocess.run(["tar", "-x"], input=archive.stdout, cwd=place, check=True)
    return place


def conversation(server_tree: Path, client_tree: Path, place: Path) -> Any:  # noqa: ANN401 - of JSON
    """What one tree's SDK gets from the other one's server."""
    with source_trees.server(server_tree, place) as target:
        return json.loads(source_trees.converse(client_tree, target))


def test_its_sdk_calls_the_present_server(tree: Path, tmp_path: Path) -> None:
    found = conversation(server_tree=ROOT, client_tree=tree, place=tmp_path)
    assert released.differences(json.loads(released.RESULTS.read_text()), found, released.TOLERANCE) == []


def test_the_present_sdk_calls_its_server(tree: Path, tmp_path: Path) -> None:
    found = conversation(server_tree=tree, client_tree=ROOT, place=tmp_path)
    assert released.differences(json.loads(released.RESULTS.read_text()), found, released.TOLERANCE) == []
