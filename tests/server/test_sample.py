"""The model that comes with Covey: the server takes it, and it is as accurate as it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from covey_export.datasets.sample import Sample
from covey_server import sample
from covey_server.first_look import FirstLook
from covey_server.inference.devices import CPU
from covey_server.inference.model_loader import ModelLoader

MAX_BYTES = 300_000


def test_it_is_served_and_as_accurate_as_it_says(tmp_path: Path) -> None:
    name = sample.copy_into(tmp_path)
    model = ModelLoader(CPU, threads=1, max_batch_size=0)(name, 1, tmp_path / name / "1" / "model.onnx")
    assert model.golden_difference < 1e-4
    info = model.info
    assert (info.name, info.version, tuple(info.labels)) == (sample.NAME, 1, tuple("0123456789"))
    data = Sample().load(model.input, None)
    answers = np.concatenate([model.engine.run(data.test_images[at : at + 100]) for at in range(0, 1000, 100)])
    right = np.mean(answers.argmax(axis=1) == data.test_labels)
    assert np.isclose(right, info.training.test_accuracy)
    assert right > 0.97


def test_an_option_that_there_is_not_is_no_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)  # this process keeps its own handlers
    with FirstLook(["--nope"], {}) as look, pytest.raises(SystemExit):
        look.config()
    assert "unrecognized arguments: --nope. Did you mean" in capsys.readouterr().err


def test_it_is_small() -> None:
    assert sample.FILE.stat().st_size < MAX_BYTES
