"""Models of the networks in networks.py, opened to be explained."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import onnx
import pytest
from tests.export.importing.onnx_models import small_cnn
from tests.server.explaining import networks

from covey_export.__main__ import main
from covey_server.explaining.inside import Inside
from covey_server.inference.devices import CPU
from covey_server.inference.model_loader import ModelLoader
from covey_server.inference.served_model import ServedModel


@pytest.fixture(scope="package")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`plain`, `residual`, `quantized` (int8), `half` (float16), two detectors, and `imported`: float32 NCHW, as an
    exporter of others writes it."""
    folder = tmp_path_factory.mktemp("explained") / "models"
    networks.plain(folder)
    networks.residual(folder)
    networks.quantized(folder)
    networks.half(folder)
    networks.detector(folder, "mean")
    networks.detector(folder, "max")
    source = folder.parent / "imported.onnx"
    onnx.save(small_cnn(), source)
    assert main(["import", str(source), "--name", "imported", "--models", str(folder), "--like", "imagenet"]) == 0
    return folder


@pytest.fixture(scope="package")
def open_model(models: Path) -> Callable[[str], tuple[ServedModel, Inside]]:
    @cache
    def opened(name: str) -> tuple[ServedModel, Inside]:
        model = ModelLoader(CPU, threads=1, max_batch_size=1)(name, 1, models / name / "1" / "model.onnx")
        return model, Inside(model)

    return opened
