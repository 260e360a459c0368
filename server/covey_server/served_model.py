"""One version of a model as it is served: loaded, described by its file, golden-checked and warm."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from covey_proto.v1.classifier_pb2 import ModelInfo
from covey_server import golden
from covey_server.engine import Engine
from covey_server.images import InputSpec
from covey_server.model_file import describe


class ServedModel:
    """One version of a model, checked and warm."""

    def __init__(self, name: str, version: int, engine: Engine, max_batch_size: int) -> None:
        """Describes and checks the engine's model. Raises RefusedModel."""
        description = describe(engine)
        self.golden_difference = golden.check(engine, description.golden)
        engine.warm_up(sorted({1, max_batch_size}))
        self.name = name
        self.version = version
        self.engine = engine
        self.max_batch_size = max_batch_size
        self.labels: tuple[str, ...] = description.labels
        self.input: InputSpec = description.input
        self.info: ModelInfo = description.info

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return self.input.shape

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities `[N, K] float32` of `[N, H, W, C] uint8`. Raises EngineFailed."""
        return self.engine.run(images)
