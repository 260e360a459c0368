"""A classifier's own Triton client, unchanged, gets from an imported model what onnxruntime gives for the original."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from bench.processes import READY, own_process
from PIL import Image
from tests.export.importing.onnx_models import SIZE, save, small_cnn

from covey_export.__main__ import main

ROOT = Path(__file__).parents[2]
INPUT, OUTPUT, COUNT = "input", "logits", 5


def test_it_gets_the_original_outputs(tmp_path: Path) -> None:
    source = save(small_cnn(input_name=INPUT, output_name=OUTPUT), tmp_path)
    models, files = tmp_path / "models", tmp_path / "files"
    assert main(["import", str(source), "--name", "net", "--models", str(models), "--like", "imagenet"]) == 0
    chance = np.random.default_rng(2)
    values = chance.normal(0, 1, (COUNT, 3, SIZE, SIZE)).astype(np.float32)
    np.save(tmp_path / "values.npy", values)
    files.mkdir()
    for place in range(4):
        Image.fromarray(chance.integers(0, 256, (30, 26, 3), dtype=np.uint8)).save(files / f"{place}.png")
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
