"""The unit for a plain host: systemd understands it, and its command runs with its settings and stops in time."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from bench.processes import ROOT, started_server

from covey_server import sample
from covey_server.config import Config
from covey_server.processes import supervisor

FOLDER = ROOT / "deploy" / "systemd"
UNIT, SETTINGS = FOLDER / "covey.service", FOLDER / "covey.env"
INSTALLED = "/opt/covey/bin/"  # docs/deploy.md installs there


def service() -> configparser.SectionProxy:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]  # keys as they are written
    unit.read(UNIT)
    return unit["Service"]


def settings(*, of_comments: bool = False) -> dict[str, str]:
    lines = SETTINGS.read_text().splitlines()
    found = (re.fullmatch(rf"{'#?' if of_comments else ''}(COVEY_\w+)=(.*)", line) for line in lines)
    return {match[1]: match[2] for match in found if match}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace(INSTALLED, f"{Path(sys.executable).parent}/"))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_its_command_runs_with_its_settings_and_ends_when_it_is_asked(tmp_path: Path) -> None:
    sample.copy_into(tmp_path / "models")
    command = shlex.split(service()["ExecStart"].replace(INSTALLED, f"{Path(sys.executable).parent}/"))
    changed = {"COVEY_MODELS": str(tmp_path / "models"), "COVEY_GRPC_PORT": "0", "COVEY_HTTP_PORT": "0"}
    environment = os.environ | settings() | changed | {"COVEY_METRICS_PORT": "0"}
    with started_server(command, tmp_path / "log", environment) as (process, target, _, _):
        probe = [*command, "--probe", "--grpc-port", target.rpartition(":")[2]]
        assert subprocess.run(probe, env=environment, check=False).returncode == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(float(service()["TimeoutStopSec"])) == 0
    assert "stopped after" in (tmp_path / "log").read_text()


def test_systemd_waits_for_as_long_as_draining_may_take() -> None:
    drain_s = float(settings()["COVEY_DRAIN_TIMEOUT_S"])
    assert drain_s == Config().drain_timeout_s
    assert drain_s + supervisor._END_S < float(service()["TimeoutStopSec"])


def test_settings_are_those_of_the_server() -> None:
    shown = settings(of_comments=True)
    assert shown.keys() > {"COVEY_MODELS", "COVEY_AUTH_TOKEN_FILE", "COVEY_TLS_KEY"}
    known = {f"COVEY_{name.upper()}" for name in Config.__dataclass_fields__}
    assert shown.keys() <= known
    assert service()["EnvironmentFile"] == "/etc/covey/covey.env"
    assert (service()["Type"], service()["Restart"], service()["User"]) == ("exec", "on-failure", "covey")
