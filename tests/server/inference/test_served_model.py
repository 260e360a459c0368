"""What is done to an engine before it serves: measured, warmed, and fed with sizes it knows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tests.conftest import WriteModel

from covey_server.inference.devices import CPU, CUDA_PROVIDER, Device
from covey_server.inference.engine import Engine
from covey_server.inference.model_loader import ModelLoader
from covey_server.inference.served_model import ServedModel


class RecordingEngine(Engine):
    """An engine on the CPU that remembers the sizes of its batches, and may say that it is on a GPU."""

    def __init__(self, path: Path, device: Device = CPU) -> None:
        self.sizes: list[int] = []
        super().__init__(path)
        self.device = device

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.sizes.append(len(images))
        return super().run(images)


def test_every_size_that_is_measured_is_warm_and_the_largest_is_what_was_asked_for(
    tmp_path: Path, write_echo_model: WriteModel
) -> None:
    engine = RecordingEngine(write_echo_model(tmp_path))
    model = ServedModel("echo", 1, engine, max_batch_size=6)
    assert set(model.cost.measured) <= {1, 2, 4, 6}
    assert set(model.cost.measured) <= set(engine.sizes)
    assert model.cost.best_batch_size <= 6


def test_on_cuda_batches_are_filled_up_to_a_warm_size(tmp_path: Path, write_echo_model: WriteModel) -> None:
    engine = RecordingEngine(write_echo_model(tmp_path), Device("cuda:0", CUDA_PROVIDER))
    model = ServedModel("echo", 1, engine)
    images = np.arange(3 * 16, dtype=np.uint8).reshape(3, 4, 4, 1)
    expected = Engine.run(engine, images)
    assert np.array_equal(model.run(images), expected)
    assert engine.sizes[-1] == min(size for size in model.cost.measured if size >= 3)


def test_the_loader_says_what_a_model_took(tmp_path: Path, write_echo_model: WriteModel) -> None:
    model = ModelLoader(CPU, threads=1, max_batch_size=0)("echo", 5, write_echo_model(tmp_path))
    assert (model.name, model.version) == ("echo", 5)
    assert model.load_s > 0
    assert model.memory_bytes >= 0
