"""The table of exit codes in docs/deploy.md, and what --help says of them: all that the code ends with, and no more."""

from __future__ import annotations

import re
import socket
from types import ModuleType

import pytest
from bench.processes import ROOT

from covey import cli
from covey.cli import parser
from covey.cli.exits import Exit
from covey_export import errors as of_export
from covey_server import command_line
from covey_server import errors as of_server
from covey_server.offline import command as batch
from covey_server.offline import errors as of_batch

ANY = {0, 1, 130}  # done, an unexpected failure, a signal
ROWS = re.findall(r"^\| (\d+) \|(.*)\|$", (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8"), re.MULTILINE)
SERVER, BATCH, EXPORT, CLIENT = (
    {int(code) for code, cells in ROWS if cells.split("|")[column].strip()} for column in range(4)
)


def codes(*modules: ModuleType) -> set[int]:
    """Those of the errors that a module defines."""
    return {each.exit_code for module in modules for each in vars(module).values() if hasattr(each, "exit_code")}


def listed(text: str) -> set[int]:
    """Those that a help text explains under its last "exit codes:"."""
    return {
        int(code) for code in re.findall(r"(?:^ *|   +)(\d+) +[a-z]", text.rpartition("exit codes:")[2], re.MULTILINE)
    }


def test_the_table_has_every_code_of_the_code() -> None:
    assert ANY | codes(of_server) == SERVER
    assert ANY | codes(of_server, of_batch) - {of_server.PortUnavailable.exit_code} == BATCH
    assert ANY | codes(of_export) == EXPORT
    assert set(Exit) == CLIENT


def test_help_has_those_of_the_table() -> None:
    assert listed(command_line.build({}).format_help()) == SERVER
    assert listed(batch.build({}).format_help()) == BATCH
    assert listed(parser.build().format_help()) == CLIENT


WITHOUT_A_SERVER = (
    "classify {image}", "models", "info", "explain {image}", "canary x 2", "promote x 2", "wait --deadline-ms 300",
    "load --rate 5", "plan --rate 5 --slo-ms 5", "doctor", "similar index {folder} --to {folder}/index",
)  # fmt: skip


@pytest.mark.parametrize(
    ("words", "scheme"),
    [
        *((words, "") for words in WITHOUT_A_SERVER),
        *((words, "http://") for words in WITHOUT_A_SERVER if words.startswith(("classify", "models", "load"))),
    ],
)
def test_without_a_server_there_is_one_line_with_the_address_and_what_to_do(
    words: str, scheme: str, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path_factory.mktemp("images")
    image = folder / "digit.png"
    image.write_bytes((ROOT / "docs" / "digit.png").read_bytes())
    with socket.socket() as taken:  # it has the port, and does not listen
        taken.bind(("127.0.0.1", 0))
        target = f"{scheme}127.0.0.1:{taken.getsockname()[1]}"
        assert cli.main([*words.format(image=image, folder=folder).split(), "--target", target]) == Exit.SERVER
    (line,) = [each for each in capsys.readouterr().err.splitlines() if each.startswith("covey: ")]
    assert target in line
    assert "start one there (`covey serve`), or name the one that runs (--target, COVEY_TARGET or" in line
