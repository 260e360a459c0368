"""docs/load-testing.md names what there is: options and figures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bench.processes import covey_server
from tests.conftest import WriteModel

from covey.cli import main
from covey_load.distribution import supports
from covey_load.reports.figures import FIGURES

TEXT = (Path(__file__).parents[2] / "docs/load-testing.md").read_text(encoding="utf-8")


def test_options_are_those_of_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("load", "doctor"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
    in_help = set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out))
    of_the_server = {"--front"}

    on_page = set(re.findall(r"--[a-z][a-z-]+", TEXT))

    assert on_page - in_help == of_the_server & on_page
    assert {"--concurrency", "--rate", "--find-capacity", "--assert", "--html"} <= on_page


def test_figures_are_all_listed() -> None:
    section = TEXT.partition("## In CI")[2].partition("\n## ")[0]

    assert set(FIGURES) - set(re.findall(r"`([a-z0-9_.]+)`", section)) == set()


def test_sample_counts_are_those_of_the_engine() -> None:
    rows = re.findall(r"^\| p([\d.]+) \| ([\d,]+)", TEXT, flags=re.MULTILINE)

    assert len(rows) == 4
    for percentile, count in rows:
        least = int(count.replace(",", ""))
        assert supports(least, float(percentile))
        assert not supports(least - 1, float(percentile))


def test_the_example_in_python_runs(
    tmp_path: Path, write_echo_model: WriteModel, capsys: pytest.CaptureFixture[str]
) -> None:
    section = TEXT.partition("## From Python")[2].partition("\n## ")[0]
    (block,) = re.findall(r"^```python\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)
    write_echo_model(tmp_path / "models", shape=(28, 28, 1))
    with covey_server(tmp_path / "models", "native", tmp_path / "log") as server:
        exec(compile(block.replace("localhost:8001", server.target), "load-testing.md", "exec"), {})

    rates, cost, *answer = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"[\d,]+ calls/s, p99 [\d.]+ ms, Counter\({'OK': \d+}\)", rates)
    assert re.fullmatch(r"the generator needed [\d.]+ us of CPU a call", cost)
    assert answer[0].startswith(("index: ", "label: "))
