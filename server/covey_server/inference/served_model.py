"""One version of a model as it is served: described by its file, golden-checked, measured and warmed up."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covey_proto.v1.classifier_pb2 import ModelInfo
from covey_server.images.pixels import InputSpec
from covey_server.inference import cost, golden
from covey_server.inference.cost import CostModel
from covey_server.inference.devices import Device
from covey_server.inference.engine import Engine
from covey_server.inference.model_file import describe, other_name
from covey_server.system.process_memory import resident_bytes

log = logging.getLogger(__name__)

# Larger batches gained nothing for the networks that were measured, and everybody in them waits longer.
MAX_BATCH_ON_CPU = 64
MAX_BATCH_ON_CUDA = 256
_MEASURING_S = 0.25


class ServedModel:
    """One version of a model, ready to run. It is part of no reference cycle: the last request that holds it frees
    it."""

    def __init__(self, name: str, version: int, engine: Engine, max_batch_size: int = 0) -> None:
        """Describes, checks and measures the engine's model, which also warms it up. `max_batch_size` 0: as many images
        as pay.

        Raises RefusedModel, EngineFailed.
        """
        description = describe(engine)
        self.golden_difference = golden.check(engine, description.golden)
        self.name = name
        self.version = version
        self.engine = engine
        self.labels: tuple[str, ...] = description.labels
        self.thresholds: NDArray[np.float32] | None = description.thresholds  # of independent labels, `[K]`
        self.input: InputSpec = description.input
        self.input_shape: tuple[int, int, int] = self.input.shape
        self.image_bytes = self.input.nbytes
        self.info: ModelInfo = description.info
        self.cost = CostModel(_measure(engine, max_batch_size))
        # What each protocol has prepared to write answers with, by its type; filled by `ModelLoader`.
        self.prepared: dict[type, Any] = {}
        # Set by `ModelLoader`: how long loading took, and by how much the process grew meanwhile.
        self.load_s = 0.0
        self.memory_bytes = 0

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities `[N, K] float32` of `[N, H, W, C] uint8`. Raises EngineFailed.

        On CUDA, where cuDNN plans each new batch size anew, a batch is filled up to a measured size.
        """
        if not self.engine.device.is_cuda:
            return self.engine.run(images)
        warm = next((size for size in self.cost.measured if size >= len(images)), len(images))
        padded = np.zeros((warm, *images.shape[1:]), np.uint8)
        padded[: len(images)] = images
        return self.engine.run(padded)[: len(images)]


class ModelLoader:
    """Loads a file as a ServedModel."""

    def __init__(
        self,
        device: Device,
        threads: int,
        max_batch_size: int,
        prepare: Sequence[Callable[[ServedModel], object]] = (),
    ) -> None:
        """`prepare` has a function of each protocol; its result is kept in the model's `prepared`, by its type. It must
        not refer to the model, which then would be part of a reference cycle."""
        self._device = device
        self._threads = threads
        self._max_batch_size = max_batch_size
        self._prepare = prepare

    def __call__(self, name: str, version: int, path: Path) -> ServedModel:
        """Raises RefusedModel if the file cannot be served or must not be, EngineFailed, DeviceUnavailable."""
        began, before_bytes = time.monotonic(), resident_bytes()
        model = ServedModel(name, version, Engine(path, self._device, self._threads), self._max_batch_size)
        if said := other_name(model.info, name, version):
            log.warning(
                "model %s version %d: its file says that it is %s; it is served by the names of its folders",
                name, version, said,
            )  # fmt: skip
        for prepare in self._prepare:
            made = prepare(model)
            model.prepared[type(made)] = made
        model.load_s = time.monotonic() - began
        model.memory_bytes = max(0, resident_bytes() - before_bytes)
        return model


def _measure(engine: Engine, max_batch_size: int) -> dict[int, float]:
    largest = max_batch_size or (MAX_BATCH_ON_CUDA if engine.device.is_cuda else MAX_BATCH_ON_CPU)
    images = np.zeros((largest, *engine.input_shape), np.uint8)
    return cost.measure(lambda size: engine.run(images[:size]), largest, _MEASURING_S)
