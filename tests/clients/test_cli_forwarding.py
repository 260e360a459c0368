"""`covey serve`, `covey import` and so on are the commands of covey-server and covey-export."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
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
    assert "covey-server serve [FILE]" in said("covey", "serve", "model.onnx", "--help")


@pytest.mark.parametrize(
    ("arguments", "published", "is_first_look"),
    [
        ([], False, True),
        (["--workers", "1"], False, True),
        (["network.onnx"], True, True),
        ([], True, False),
        (["--models=elsewhere"], False, False),
        (["--processes", "2"], False, False),
        (["--check"], False, False),
    ],
)
def test_what_serve_serves(
    arguments: list[str], published: bool, is_first_look: bool,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_echo_model: WriteModel,
) -> None:  # fmt: skip
    """A file, a models folder that is named or here, or, by a first look at nothing, the sample."""
    (tmp_path / "models").mkdir()
    if published:
        write_echo_model(tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COVEY_MODELS", raising=False)
    given: list[Sequence[str]] = []

    def main(arguments: Sequence[str]) -> int:
        given.append(arguments)
        return 0

    monkeypatch.setattr("covey_server.__main__.main", main)
    assert cli.main(["serve", *arguments]) == 0
    assert given == [["serve", *arguments] if is_first_look else arguments]


def test_a_models_folder_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COVEY_MODELS", str(tmp_path))
    assert cli.main(["serve"]) == 3  # there is no model in it


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
    for name in set(forwarding.OF_EXPORT) - {forwarding.EXPORT}:
        with pytest.raises(SystemExit) as ended:
            cli.main([name, "--help"])
        assert ended.value.code == 0
        assert f"usage: covey-export {name}" in capsys.readouterr().out


def test_export_leads_to_all_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["export", "all", "--help"])
    assert ended.value.code == 0
    assert "usage: covey-export all" in capsys.readouterr().out
