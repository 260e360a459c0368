"""One version of a model as it is served: described by its file, golden-checked, measured and warmed up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from covey_proto.v1.classifier_pb2 import ModelInfo
from covey_server.errors import RefusedModel
from covey_server.images.pixels import InputSpec
from covey_server.inference import cost, golden
from covey_server.inference.cost import CostModel
from covey_server.inference.engine import Engine
from covey_server.inference.model_file import describe

if TYPE_CHECKING:
    from covey_server.inference.original_input import OriginalInput

# Larger batches gained nothing for the networks that were measured, and everybody in them waits longer.
MAX_BATCH_ON_CPU = 64
MAX_BATCH_ON_CUDA = 256
_MEASURING_S = 0.25


class ServedModel:
    """One version of a model, ready to run. It is part of no reference cycle: the last request that holds it frees
    it."""

    original: OriginalInput | None = None  # the same network behind its original input; set by `ModelLoader`
    answers_probabilities = True  # not of an original's own output, which may be logits
    embedding_size = 0  # numbers in an image's embedding; 0: the model publishes none
    digest = ""  # SHA-256 of what its file says of itself

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
        self.known_from: np.float32 | None = description.known_from  # the largest probability of a known class
        self.input: InputSpec = description.input
        self.input_shape: tuple[int, int, int] = self.input.shape
        self.image_bytes = self.input.nbytes
        self.info: ModelInfo = description.info
        self.digest = description.digest
        if engine.embedding_size:
            _try_embedding(engine, description.golden.pixels)
            self.embedding_size = engine.embedding_size
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
        return self.engine.run(self._padded(images))[: len(images)]

    def run_with_embedding(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Probabilities `[N, K]` and embeddings `[N, D]`, both float32, as `run`. Raises EngineFailed."""
        if not self.engine.device.is_cuda:
            return self.engine.run_with_embedding(images)
        probabilities, embedding = self.engine.run_with_embedding(self._padded(images))
        return probabilities[: len(images)], embedding[: len(images)]

    def _padded(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        warm = next((size for size in self.cost.measured if size >= len(images)), len(images))
        padded = np.zeros((warm, *images.shape[1:]), np.uint8)
        padded[: len(images)] = images
        return padded


def _try_embedding(engine: Engine, images: NDArray[np.uint8]) -> None:
    """The golden set holds no embeddings: the probabilities that it compares are computed from them. Raises
    RefusedModel, EngineFailed."""
    _, embedding = engine.run_with_embedding(images)
    if not np.isfinite(embedding).all():
        raise RefusedModel(
            "golden set: its embeddings hold NaN or infinity, expected finite numbers; convert the model again"
        )


def _measure(engine: Engine, max_batch_size: int) -> dict[int, float]:
    largest = max_batch_size or (MAX_BATCH_ON_CUDA if engine.device.is_cuda else MAX_BATCH_ON_CPU)
    images = np.zeros((largest, *engine.input_shape), np.uint8)
    return cost.measure(lambda size: engine.run(images[:size]), largest, _MEASURING_S)
