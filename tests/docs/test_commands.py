"""The program of every command that a page names understands it."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from tests.docs import command_lines
from tests.docs.pages import PAGES, blocks, commands, inline, named


@pytest.fixture(autouse=True)
def _beside_a_folder_of_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "models" / "lenet" / "1" / "model.onnx"
    model.parent.mkdir(parents=True)
    model.touch()
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_in_blocks_are_understood(page: Path) -> None:
    found = [(block, words) for block in blocks(page, "sh") for words in commands(block.text)]
    problems = [(block, words, command_lines.problem(words)) for block, words in found]
    assert [f"{block}: {' '.join(words)}: {problem}" for block, words, problem in problems if problem] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_in_sentences_have_their_options(page: Path) -> None:
    problems = []
    for code in inline(page):
        words = code.text.replace("'", " ").replace('"', " ").split()
        program = words[0] if words else ""
        if program in command_lines.COVEY and len(words) > 1:
            problem = command_lines.problem_of_part(words)
        elif program == "make" or words[:2] == ["python", "-m"]:
            problem = command_lines.problem(words)
        else:
            continue
        if problem:
            problems.append(f"{code}: {code.text}: {problem}")
    assert problems == []


WRONG = """
covey klassify x.jpg
covey classify x.jpg --topk 3
covey serve --modles models
covey serve x.onnx --lik y
covey import x.onnx --labelz y
covey batch photos --model x
covey load --rate
covey similar qwery x.jpg --index y
covey-server --max-dealy-us 3
covey-export all lenet --dataste sample
docker compose run --rm export covey-export all lenet --nothing
torchrun -m covey_export trainn lenet
make tset
make image IMAGE=server
python -m bench.nothing
python -m bench --onli x
pip install 'covey-serve[cpus]'
kubeclt
"""
PARTS = ("covey servee", "covey load --ratee", "covey-server --model", "covey-export tri x", "covey-export list --x")


@pytest.mark.parametrize("command", WRONG.strip().splitlines())
def test_wrong_commands_are_found(command: str) -> None:
    assert command_lines.problem(shlex.split(command))


@pytest.mark.parametrize("command", PARTS)
def test_wrong_parts_are_found(command: str) -> None:
    assert command_lines.problem_of_part(command.split())
