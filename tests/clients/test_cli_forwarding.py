"""`covey serve`, `covey import` and so on are the commands of covey-server and covey-export."""

from __future__ import annotations

import argparse
import ast
import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from bench.processes import ROOT
from tests.conftest import WriteModel

from covey import cli
from covey.cli import forwarding
from covey_export.importing import options as import_options
from covey_export.importing.settings.preset import PRESETS
from covey_proto.command_line import Parser
from covey_server import first_look
from covey_server.command_line import EXIT_CODES as EXIT_CODES_OF_THE_SERVER
from covey_server.command_line import add_settings


def said(*command: str) -> str:
    """What a command prints, whatever it ends with."""
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, timeout=120)
    return done.stdout + done.stderr


def test_the_help_of_serve_has_the_file_and_the_server() -> None:
    """Also where a models folder is among the arguments, which `covey serve` takes in place of FILE."""
    text = said("covey", "serve", "--help")
    assert text.startswith("usage: covey serve [FILE] [--like HOW] [options]\n")
    for option in ("FILE", "--like", "--labels", "--models", "--check", "--grpc-port"):
        assert f"\n  {option}" in text
    assert EXIT_CODES_OF_THE_SERVER in text
    assert said("covey", "serve", "model.onnx", "-h") == said("covey", "serve", "--models", "x", "--help") == text


def test_the_options_of_a_file_are_the_imports() -> None:
    parser = argparse.ArgumentParser()
    import_options.add_to(parser)
    known = {name: action.metavar for action in parser._actions for name in action.option_strings}
    (group,) = (each for each in first_look.build({})._action_groups if each.title == "a file from elsewhere")
    names = [name for action in group._group_actions for name in action.option_strings]
    assert names[:2] == ["--like", "--labels"]
    assert set(names) <= set(known)
    server = Parser(add_help=False)
    add_settings(server, {}, first_look._OMITTED)
    assert not [name for name in known if name.startswith("--") and server.nearest(name, first_look._MISSPELT)]
    (like,) = (action for action in group._group_actions if action.dest == "like")
    assert all(preset in (like.help or "") for preset in PRESETS)


def test_errors_begin_with_the_program_that_was_called(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_text("not found")
    file, missing = str(tmp_path / "x.onnx"), str(tmp_path / "missing.onnx")
    for words, error in {
        ("covey", "serve", "--models", str(tmp_path)): f"covey: no model can be served from {tmp_path}",
        ("covey_server", "--models", str(tmp_path)): f"covey-server: no model can be served from {tmp_path}",
        ("covey", "serve", "--chek", "--models", "x"): "covey serve: error: unrecognized arguments: --chek",
        ("covey", "serve", file): "covey: ",
        ("covey", "serve", file, "--lable", "a"): "covey serve: error: unrecognized arguments: --lable",
        ("covey_server", "serve", file, "--lable", "a"): "covey-server serve: error: unrecognized arguments: --lable",
        ("covey", "import", missing): "covey: ",
        ("covey", "export", "import", missing): "covey: ",
        ("covey_export", "import", missing): "covey-export: ",
        ("covey", "import", missing, "--lable", "a"): "covey import: error: unrecognized arguments: --lable",
        ("covey", "batch", "nowhere", "--model", "x", "--to", "y.csv"): "covey: nowhere: there is no such",
        ("covey_server", "batch", "nowhere", "--model", "x", "--to", "y.csv"): "covey-server: nowhere: there is no",
    }.items():
        lines = said(*words).splitlines()
        assert any(line.startswith(error) for line in lines), (words, lines)
        assert not any(line.startswith(("covey-", "usage: covey-")) for line in lines) or "_" in words[0]


@pytest.mark.parametrize("name", sorted(set(forwarding.COMMANDS) - {forwarding.SERVE}))
def test_usage_has_the_words_that_were_typed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([name, "--help"], ["help", name], ["help", forwarding.EXPORT]):
        with contextlib.suppress(SystemExit):
            assert cli.main(words) == 0
        typed = name if words[1] != forwarding.EXPORT else forwarding.EXPORT
        assert capsys.readouterr().out.startswith(f"usage: covey {typed} ")
    with contextlib.suppress(SystemExit):
        cli.main([name, "--no-such-option"])
    assert re.search(rf"^covey {name}: error: ", capsys.readouterr().err, re.MULTILINE)


def test_hints_name_commands_of_covey() -> None:
    """`covey COMMAND` is what every installation has, whatever name a program was called by."""
    wrong = [
        f"{path.relative_to(ROOT)}: {text}"
        for place in ("clients", "export", "proto", "server")
        for path in (ROOT / place).rglob("*.py")
        for text in _texts(ast.parse(path.read_text(encoding="utf-8")))
        if re.search(r"covey-(server|export) (-|[a-z])", text) and "covey-server ready" not in text
    ]
    assert wrong == []


def _texts(tree: ast.Module) -> Iterator[str]:
    """The strings of a module but its docstrings, those with values in them as they are written."""
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, owners)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value not in docstrings:
            yield node.value


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
    given: list[tuple[Sequence[str], str]] = []

    def main(arguments: Sequence[str], called_as: str) -> int:
        given.append((arguments, called_as))
        return 0

    monkeypatch.setattr("covey_server.__main__.main", main)
    assert cli.main(["serve", *arguments]) == 0
    assert given == [(["serve", *arguments], "covey") if is_first_look else (arguments, "covey serve")]


def test_a_models_folder_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COVEY_MODELS", str(tmp_path))
    assert cli.main(["serve"]) == 3  # there is no model in it


def test_check_ends_with_the_servers_exit_code(
    tmp_path: Path, write_echo_model: WriteModel, capsys: pytest.CaptureFixture[str]
) -> None:
    write_echo_model(tmp_path)
    assert cli.main(["serve", "--check", "--models", str(tmp_path)]) == 0
    assert "model echo version 1" in capsys.readouterr().out


def test_export_leads_to_all_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    for words, usage in ((["export", "all"], "covey export all"), (["export", "import"], "covey export import")):
        with pytest.raises(SystemExit) as ended:
            cli.main([*words, "--help"])
        assert ended.value.code == 0
        assert f"usage: {usage} [-h]" in capsys.readouterr().out
