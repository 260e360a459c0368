"""A classifier's own Triton client, unchanged, gets from an imported model what onnxruntime gives for the original."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from bench.processes import READY, own_process
from PIL import Image
from torchvision.models import resnet18

from covey_export.__main__ import main

ROOT = Path(__file__).parents[2]
INPUT, OUTPUT, SIZE, COUNT = "input", "logits", 224, 5


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """torchvision's resnet18 in ONNX, as many people have it."""
    path = tmp_path_factory.mktemp("resnet") / "resnet18.onnx"
    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older exporter is deprecated
        torch.onnx.export(
            resnet18().eval(), (torch.zeros((2, 3, SIZE, SIZE)),), path, dynamo=False, opset_version=17,
            input_names=[INPUT], output_names=[OUTPUT], dynamic_axes={INPUT: {0: "n"}, OUTPUT: {0: "n"}},
        )  # fmt: skip
    return path


def test_it_gets_the_original_outputs(source: Path, tmp_path: Path) -> None:
    models, files = tmp_path / "models", tmp_path / "files"
    assert main(["import", str(source), "--name", "net", "--models", str(models), "--like", "imagenet"]) == 0
    chance = np.random.default_rng(2)
    values = chance.normal(0, 1, (COUNT, 3, SIZE, SIZE)).astype(np.float32)
    np.save(tmp_path / "values.npy", values)
    files.mkdir()
    for place in range(4):
        Image.fromarray(chance.integers(0, 256, (300, 260, 3), dtype=np.uint8)).save(files / f"{place}.png")
    command = [sys.executable, "-m", "covey_server", "--models", str(models), "--grpc-port", "0", "--metrics-port", "0"]
    with own_process(command, tmp_path / "log") as server:
        assert server.stdout is not None
        ready = READY.match(server.stdout.readline())
        assert ready is not None, (tmp_path / "log").read_text()
        client = [sys.executable, "-m", "tests.end_to_end.triton_client", ready["grpc"], INPUT, OUTPUT]
        client += [str(tmp_path / "values.npy"), str(tmp_path / "answers.npy"), str(files)]
        done = subprocess.run(client, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (expected,) = onnxruntime.InferenceSession(source).run([OUTPUT], {INPUT: values})
    answers = np.load(tmp_path / "answers.npy")
    np.testing.assert_allclose(answers, np.concatenate([expected, expected]), atol=1e-4)
