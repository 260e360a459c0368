"""Variables named COVEY_* that nothing reads are told of, by every program, with the name that was probably meant."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from bench.processes import ROOT
from deploy.edge import settings as edge

from covey.cli import connection
from covey_export.datasets.published import DATA_VARIABLE
from covey_proto import variables
from covey_server.config import VARIABLES

MISSPELT = {"COVEY_MAX_CALS": "12"}
WARNING = (
    "the environment variable COVEY_MAX_CALS has no effect: nothing of Covey reads it; did you mean COVEY_MAX_CALLS?"
)


def test_what_is_read_is_known() -> None:
    """Every name in code, Makefile, Compose, manifests and scripts; not in tests, which have wrong ones."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    left_out = ("docs/", "tests/", "proto/covey_proto/variables.py")
    read = set()
    for name in listed.splitlines():
        if not name.startswith(left_out) and not name.endswith((".md", "_pb2.py", "_pb2.pyi")):
            text = (ROOT / name).read_text(encoding="utf-8", errors="replace")
            read |= set(re.findall(r"\bCOVEY_[A-Z][A-Z_]*[A-Z]\b", text))
    assert read >= variables.OF_DEPLOYMENT, "each is there for something that reads it"
    assert read - variables.OF_OTHERS - VARIABLES - set(edge.known()) == set()


def test_those_of_clients_and_training_are_what_these_read() -> None:
    flags = {f"COVEY_{name.upper().replace('-', '_')}" for name, _ in connection._FILES}
    assert flags | {"COVEY_TARGET", "COVEY_TLS", "COVEY_SERVER_NAME", "COVEY_TOKEN"} == variables.OF_CLIENTS
    assert {DATA_VARIABLE} == variables.OF_TRAINING


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("COVEY_MAX_CALS", "1", "did you mean COVEY_MAX_CALLS?"),
        ("COVEY_TARGETS", "x:1", "did you mean COVEY_TARGET?"),
        ("COVEY_DATA_DIR", "/data", "did you mean COVEY_DATA?"),
        ("COVEY_SOMETHING_ELSE", "1", "`covey serve --help` lists those of the server"),
        ("COVEY_TAG", "1", ""),
        ("COVEY_EDGE_CALLS", "1", ""),
        ("MAX_CALS", "1", ""),
        ("COVEY_PORT", "tcp://10.0.0.1:8001", ""),
        ("COVEY_PORT_8001_TCP", "tcp://10.0.0.1:8001", ""),
        ("COVEY_METRICS_PORT_8002_TCP_ADDR", "10.0.0.1", ""),
        ("COVEY_METRICS_SERVICE_PORT_HTTP", "8002", ""),
        ("COVEY_SERVICE_HOST", "10.0.0.1", ""),
    ],
)
def test_which_are_told_of(name: str, value: str, hint: str) -> None:
    """Not those that Kubernetes sets for a service named covey or covey-metrics."""
    said = variables.unknown({name: value, "PATH": "/bin"}, VARIABLES)
    assert [each.endswith(hint) and name in each for each in said] == ([True] if hint else [])


@pytest.mark.parametrize(
    ("words", "warning"),
    [
        (["covey", "version"], f"covey: warning: {WARNING}"),
        (["covey", "serve", "--check", "--models", "."], f" WARNING {WARNING}"),
        (["covey_server", "--check", "--models", "."], f" WARNING {WARNING}"),
        (["covey", "batch", "nowhere", "--model", "x", "--to", "y.csv"], f"covey: warning: {WARNING}"),
        (["covey", "import", "missing.onnx"], f"covey: warning: {WARNING}"),
        (["covey_export", "list"], f"covey-export: warning: {WARNING}"),
    ],
)
def test_each_program_tells_once(words: list[str], warning: str, tmp_path: Path) -> None:
    command, environment = [sys.executable, "-m", *words], os.environ | MISSPELT
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.stderr.count("COVEY_MAX_CALS") == 1, done.stderr
    assert [line.endswith(warning) for line in done.stderr.splitlines() if "COVEY_MAX_CALS" in line] == [True]
    assert "COVEY_MAX" not in done.stdout


def test_the_edge_tells_of_its_own() -> None:
    told = "warning: COVEY_EDGE_CALS has no effect: nothing reads it; did you mean COVEY_EDGE_CALLS?"
    links = {"COVEY_EDGE_PORT_8443_TCP": "tcp://10.0.0.1:8443", "COVEY_EDGE_SERVICE_HOST": "10.0.0.1"}
    assert edge.unknown({"COVEY_EDGE_CALS": "7", "COVEY_EDGE_STREAMS": "7", "COVEY_EDGE_BIND": "::", **links}) == [told]
