"""`make test-gpu` as far as a CPU goes, and what it makes of steps that fail. On a GPU nobody has run it yet."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.gpu import network
from tests.gpu.__main__ import _STEPS, main
from tests.gpu.steps import Outcome, Skipped, run_all

from covey_server.inference.devices import CPU
from covey_server.inference.engine import Engine


@pytest.mark.slow
def test_every_step_runs_here_or_says_why_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "results" / "gpu.json"
    assert main(["--device", "cpu", "--size", "16", "--seconds", "0.2", "--results", str(file)]) == 0, (
        capsys.readouterr().out
    )
    content = json.loads(file.read_text())
    outcomes = {step["name"]: step["outcome"] for step in content["steps"]}
    assert outcomes == dict.fromkeys(_STEPS, "passed") | {"out of device memory": "skipped"}
    figures = {step["name"]: step["figures"] for step in content["steps"]}
    assert figures["golden check on the device"]["difference_of_answers"] < 1e-5
    assert figures["requests/s against onnxruntime"]["server_requests_per_s"] > 0
    assert figures["identity under load"]["images"] > 100
    assert {"float32", "int8", "float16"} == figures["int8 and float16"]["images_per_s"].keys()
    assert content["machine"]["device"] == "cpu"


def test_a_device_that_is_not_there_is_said_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--device", "cuda:99", "--results", str(tmp_path / "gpu.json")]) == 2
    assert "test-gpu: device 'cuda:99'" in capsys.readouterr().err or "device cuda:99" in capsys.readouterr().err
    assert not (tmp_path / "gpu.json").exists()


def test_the_file_holds_what_failed_and_what_was_left_out(tmp_path: Path) -> None:
    def fails() -> dict[str, int]:
        raise AssertionError("an answer differs by 3")

    def cannot() -> dict[str, int]:
        raise Skipped("no GPU")

    told: list[Outcome] = []
    file = tmp_path / "gpu.json"
    steps = {"first": lambda: {"rate": 5}, "second": fails, "third": cannot}
    run_all(steps, {"device": "cpu"}, file, 100.0, told.append)
    content = json.loads(file.read_text())
    assert [(step["name"], step["outcome"]) for step in content["steps"]] == [
        ("first", "passed"),
        ("second", "failed"),
        ("third", "skipped"),
    ]
    assert content["steps"][0]["figures"] == {"rate": 5}
    assert "an answer differs by 3" in content["steps"][1]["reason"]
    assert content["steps"][2]["reason"] == "no GPU"
    assert [each.name for each in told] == ["first", "second", "third"]
    (late,) = run_all({"late": fails}, {}, file, -1.0, told.append)
    assert (late.outcome, late.reason) == ("skipped", "no time was left")


def test_the_network_tells_images_apart(tmp_path: Path) -> None:
    engine = Engine(network.write(tmp_path, "network", 32), CPU)
    found = engine.run(network.pictures(64, 32))
    assert len(set(found.argmax(axis=1).tolist())) > 4
    assert np.median(found.max(axis=1)) < 0.99  # a saturated softmax would hide differences
