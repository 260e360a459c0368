"""What the export's container trains and what it leaves alone. Real are the script and the folders; `covey-export`
itself, which would train for minutes, writes down what it was asked for."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from tests.deploy.compose import ROOT

_SCRIPT = ROOT / "deploy" / "export_missing.sh"


@pytest.fixture
def asked_for(tmp_path: Path) -> Path:
    """The arguments of each call of `covey-export`, a line each."""
    program = tmp_path / "bin" / "covey-export"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\n')
    program.chmod(0o755)
    return tmp_path / "asked"


def run(folder: Path, networks: str, dataset: str = "sample") -> str:
    """What the script prints for a models folder at `folder`/models."""
    environment = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "COVEY_NETWORKS": networks}
    environment |= {"COVEY_DATASET": dataset, "COVEY_MODELS": f"{folder}/models", "COVEY_CHECKPOINTS": f"{folder}/kept"}
    done = subprocess.run(["sh", str(_SCRIPT)], env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def publish(folder: Path, model: str) -> None:
    version = folder / "models" / model / "1"
    version.mkdir(parents=True)
    (version / "model.onnx").touch()


def test_what_is_missing_is_trained(tmp_path: Path, asked_for: Path) -> None:
    publish(tmp_path, "lenet")
    assert run(tmp_path, "lenet mlp", dataset="") == f"export: {tmp_path}/models/lenet is there\n"
    assert asked_for.read_text() == f"all mlp --models {tmp_path}/models --checkpoints {tmp_path}/kept\n"


def test_a_network_of_torchvision_is_found_under_its_models_name(tmp_path: Path, asked_for: Path) -> None:
    (tmp_path / "models").mkdir()
    run(tmp_path, "torchvision:resnet18")
    assert "all torchvision:resnet18 --dataset sample" in asked_for.read_text()
    asked_for.unlink()
    publish(tmp_path, "torchvision-resnet18")
    run(tmp_path, "torchvision:resnet18")
    assert not asked_for.exists()
