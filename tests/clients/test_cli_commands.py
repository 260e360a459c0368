"""The commands of `covey`: found in groups, by what other tools call them, and by the shells' completion."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import covey
from covey import cli
from covey.cli import catalogue, completion, forwarding, parser
from covey.errors import InvalidInput


def test_each_command_is_in_one_group() -> None:
    grouped = [name for names in catalogue.GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(parser.build().commands().choices)


def test_help_shows_the_groups(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], ["help"]):
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        assert ended.value.code == 0
        said = capsys.readouterr().out
        places = [said.index(f"\n{title}:\n") for title in (*catalogue.GROUPS, "options")]
        assert places == sorted(places)
        assert "\n  serve       start a server" in said


def test_help_of_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("classify", "batch"):  # of the second, the server's own code ends the help
        with contextlib.suppress(SystemExit):
            cli.main(["help", name])
        assert f"usage: covey {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("predict", ". Did you mean covey classify?"),
        ("benchmark", ". Did you mean covey load?"),
        ("clasify", ". Did you mean covey classify?"),  # codespell:ignore
        ("xyzzy", "; expected one of classify, "),
    ],
)
def test_a_word_that_is_no_command(word: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([word])
    assert ended.value.code == 2
    assert f"there is no command {word!r}{hint}" in capsys.readouterr().err


def test_words_of_other_tools_lead_to_commands() -> None:
    commands = parser.build().commands().choices
    assert not set(catalogue._OTHER_WORDS) & commands.keys()
    assert set(catalogue._OTHER_WORDS.values()) <= commands.keys()


def test_version_names_what_is_installed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["version"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"covey {covey.__version__}"
    assert {"grpcio", "numpy", "protobuf"} <= {line.split()[0] for line in said}


def test_classify_waits_for_none_of_them() -> None:
    """Each would add to the start of every command."""
    program = "import sys, covey.cli.parser\ncovey.cli.parser.build()\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"shtab", "covey_server", "covey_export", "torch", "importlib.metadata"} & set(run.stdout.split())


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("shtab")
    folder = tmp_path_factory.mktemp("completion")
    for shell in completion.SHELLS:
        (folder / shell).write_text(completion.script(shell))
    return folder


class TestCompletion:
    """The scripts are static, so that they can be tried by the shells themselves."""

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("covey cl", {"classify"}),
            ("covey classify --top", {"--top-k"}),
            ("covey serve --grpc-p", {"--grpc-port"}),
            ("covey train --optimizer a", {"adam", "adamw"}),
            ("covey export con", {"convert"}),
            ("covey batch a --pa", {"--parallel", "--part-images"}),
        ],
    )
    def test_bash_and_fish(self, line: str, expected: set[str], scripts: Path) -> None:
        program = f"""source {scripts / "bash"}
COMP_WORDS=({line}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 )); _shtab_covey; printf '%s\\n' "${{COMPREPLY[@]}}" """
        assert answers("bash", program) == expected
        if shutil.which("fish"):
            assert answers("fish", f"source {scripts / 'fish'}; complete --do-complete '{line}'") == expected

    def test_bash_completes_files(self, scripts: Path, tmp_path: Path) -> None:
        (tmp_path / "network.onnx").touch()
        program = f"""source {scripts / "bash"}; cd {tmp_path}
COMP_WORDS=(covey serve net); COMP_CWORD=2; _shtab_covey; printf '%s\\n' "${{COMPREPLY[@]}}" """
        assert answers("bash", program) == {"network.onnx"}

    def test_zsh_reads_its_script(self, scripts: Path) -> None:
        assert '"--grpc-port[' in (scripts / "zsh").read_text()
        if shutil.which("zsh"):
            subprocess.run(["zsh", "-n", scripts / "zsh"], check=True)

    def test_without_torch_the_rest_is_completed(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setitem(sys.modules, "covey_export.cli.parser", None)
        pytest.importorskip("shtab")
        assert "--grpc-port" in completion.script("bash")
        assert "without options of import, train" in capsys.readouterr().err

    def test_without_shtab(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "shtab", None)
        with pytest.raises(InvalidInput, match=r"pip install 'covey-serve\[completion\]'"):
            completion.script("bash")


def answers(shell: str, program: str) -> set[str]:
    """The words that a shell's program prints, one a line, without their descriptions."""
    run = subprocess.run([shell, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    return {line.partition("\t")[0] for line in run.stdout.splitlines()}


def test_forwarded_commands_are_known_to_the_parser() -> None:
    assert forwarding.COMMANDS.keys() <= parser.build().commands().choices.keys()
