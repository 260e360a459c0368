"""Converts a float32 graph to one whose network computes in 8-bit integers (static, QDQ): a quarter of the size.

Activations are uint8, weights int8 with 7 of their 8 bits, one scale per output channel. With 8 bits, x86 CPUs
without VNNI would saturate when they add pairs of products, and give other answers than those with it; one file must
be right on both. The eighth bit changed accuracy by less than 0.25 points, either way (MNIST, CIFAR-10).
"""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from covey_export.datasets.dataset import Images, Labels
from covey_export.errors import ConversionFailed
from covey_export.quantization import normalisation
from covey_proto.tensors import IMAGES

CALIBRATION_IMAGES = 512
_BATCH_SIZE = 16
# The operators between convolutions that onnxruntime has 8-bit kernels for. These stay in float: softmax, since the
# answer would have 256 steps only, and operators that gain nothing (sigmoid and other functions of one number).
_LAYERS = (
    "Conv",
    "ConvTranspose",
    "Gemm",
    "MatMul",
    "Add",
    "Relu",
    "Clip",
    "MaxPool",
    "AveragePool",
    "GlobalAveragePool",
    "Concat",
    "Reshape",
    "Flatten",
    "Transpose",
    "Squeeze",
    "Unsqueeze",
)


def convert(float32: Path, images: Images) -> onnx.ModelProto:
    """The quantized model of the model file `float32`; `images` `[N, H, W, C] uint8` show the range of each layer's
    values. Raises ConversionFailed.
    """
    path = list(sys.path)
    from onnxruntime import quantization

    sys.path[:] = path  # a package it uses adds itself, with modules named `optimizer` and `profiler`

    with tempfile.TemporaryDirectory(prefix="covey-export-") as folder, _unheard_root_logger():
        prepared, quantized = Path(folder, "prepared.onnx"), Path(folder, "quantized.onnx")
        try:
            # Folds constants and batch normalisation. Shapes are known from the export already.
            quantization.quant_pre_process(float32, prepared, skip_symbolic_shape=True)
            quantization.quantize_static(
                prepared,
                quantized,
                _Calibration(images),
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=list(_LAYERS),
                per_channel=True,
                reduce_range=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                nodes_to_exclude=normalisation.nodes(onnx.load(prepared).graph),
            )
            model = onnx.load(quantized)
        except OSError:
            raise
        except Exception as error:
            raise ConversionFailed(
                f"onnxruntime cannot quantize this network to int8 ({type(error).__name__}: {error}); "
                f"serve it in float32"
            ) from error
    # The preparation lists all domains that onnxruntime knows, also unused ones.
    used = {node.domain for node in model.graph.node}
    for opset in [opset for opset in model.opset_import if opset.domain not in used]:
        model.opset_import.remove(opset)
    return model


def calibration_images(images: Images, labels: Labels, count: int = CALIBRATION_IMAGES) -> Images:
    """`count` of these images, the same number of each class where there are enough; always the same."""
    order = np.random.default_rng(0).permutation(len(labels))
    shuffled = labels[order]
    rank = np.empty(len(order), np.int64)  # of each image: how many of its class come before it
    for label in np.unique(shuffled):
        places = np.flatnonzero(shuffled == label)
        rank[places] = np.arange(len(places))
    return images[order[np.argsort(rank, kind="stable")[:count]]]


class _Calibration:
    """A CalibrationDataReader for onnxruntime: one batch at a time, then None."""

    def __init__(self, images: Images) -> None:
        self._batches = iter(np.split(images, range(_BATCH_SIZE, len(images), _BATCH_SIZE)))

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        return None if batch is None else {IMAGES: batch}


@contextmanager
def _unheard_root_logger() -> Iterator[None]:
    """Hides what onnxruntime.quantization logs to the root logger, which would also get a handler for good where it has
    none. Other messages are logged as ever."""

    def is_not_its(record: logging.LogRecord) -> bool:
        return "onnxruntime" not in Path(record.pathname).parts

    root = logging.getLogger()
    handler = logging.lastResort if not root.handlers else None
    root.addFilter(is_not_its)
    if handler is not None:
        root.addHandler(handler)
    try:
        yield
    finally:
        if handler is not None:
            root.removeHandler(handler)
        root.removeFilter(is_not_its)
