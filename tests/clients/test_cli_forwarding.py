"""`covey serve`, `covey import` and so on are the commands of covey-server and covey-export."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import WriteModel

from covey import cli
from covey.cli import forwarding


def said(*command: str) -> str:
    """What a command prints, whatever it ends with."""
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, timeout=120)
    return done.stdout + done.stderr


def test_serve_is_the_server(tmp_path: Path) -> None:
    assert said("covey", "serve", "--help") == said("covey_server", "--help")
    wrong = said("covey", "serve", "--models", str(tmp_path))
    assert f"no model can be served from {tmp_path}" in wrong
    assert "covey-server serve FILE" in said("covey", "serve", "model.onnx", "--help")


def test_batch_is_the_servers() -> None:
    assert said("covey", "batch", "--help") == said("covey_server", "batch", "--help")
    assert "covey batch: nowhere: there is no such" in said(
        "covey", "batch", "nowhere", "--model", "x", "--to", "y.csv"
    )


def test_check_ends_with_the_servers_exit_code(
    tmp_path: Path, write_echo_model: WriteModel, capsys: pytest.CaptureFixture[str]
) -> None:
    write_echo_model(tmp_path)
    assert cli.main(["serve", "--check", "--models", str(tmp_path)]) == 0
    assert "model echo version 1" in capsys.readouterr().out


def test_every_other_command_is_one_of_export(capsys: pytest.CaptureFixture[str]) -> None:
    for name in forwarding.COMMANDS.keys() - {forwarding.SERVE, forwarding.BATCH}:
        with pytest.raises(SystemExit) as ended:
            cli.main([name, "--help"])
        assert ended.value.code == 0
        assert f"usage: covey-export {name}" in capsys.readouterr().out
