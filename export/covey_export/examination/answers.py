"""Runs a published model up to its scores: the logits of which softmax makes probabilities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from covey_export.datasets.dataset import Images
from covey_export.errors import ExportError
from covey_proto import tensors

Scores = NDArray[np.float64]  # [N, K]
_BATCH = 64


class Scorer:
    """Runs a model's file up to its softmax."""

    def __init__(self, path: Path) -> None:
        """Raises ExportError where the file ends in no softmax."""
        proto = onnx.load(path)
        makers = {output: node for node in proto.graph.node for output in node.output}
        last = makers.get(tensors.PROBABILITIES)
        while last is not None and last.op_type in ("Cast", "Identity"):
            last = makers.get(last.input[0])
        if last is None or last.op_type != "Softmax":
            raise ExportError(
                f"{path} ends in {last.op_type if last else 'nothing known'}; expected a softmax, whose scores are "
                f"examined. Models of independent labels have none"
            )
        self._output = last.input[0]
        proto.graph.output.append(onnx.ValueInfoProto(name=self._output))
        self._session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])

    def scores(self, images: Images) -> Scores:
        """`[N, K]` for images `[N, H, W, C] uint8`."""
        batches = [
            self._session.run([self._output], {tensors.IMAGES: images[start : start + _BATCH]})[0]
            for start in range(0, len(images), _BATCH)
        ]
        return np.concatenate(batches).astype(np.float64)


def log_softmax(scores: Scores, temperature: float = 1.0) -> Scores:
    """Logarithms of the probabilities of scores divided by a temperature."""
    scaled = scores / temperature
    scaled = scaled - scaled.max(axis=1, keepdims=True)
    return np.asarray(scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True)))
