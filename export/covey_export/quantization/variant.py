"""Makes the file of a variant in another precision from a float32 model file, golden set included."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx

from covey_export import sealing
from covey_export.datasets.dataset import Images
from covey_export.errors import ConversionFailed
from covey_export.quantization import float16, int8
from covey_export.quantization.precision import Precision
from covey_proto import layout
from covey_proto.v1.classifier_pb2 import GoldenSet, ModelInfo
from covey_server.errors import CoveyServerError
from covey_server.inference.devices import choose
from covey_server.inference.engine import Engine


def make(float32: bytes, info: ModelInfo, precision: Precision, calibration: Images) -> bytes:
    """The variant of the model file `float32`, which `info` describes. `info` is made to describe the variant. Of
    int8, `calibration` `[N, H, W, C] uint8` shows the range of each layer's values.

    Raises ConversionFailed.
    """
    if precision is Precision.INT8:
        with tempfile.TemporaryDirectory(prefix="covey-export-") as folder:
            path = Path(folder, layout.FILE_NAME)
            path.write_bytes(float32)
            model = int8.convert(path, calibration)
    elif precision is Precision.FLOAT16:
        model = float16.convert(onnx.load_from_string(float32))
    else:
        raise ValueError("this is a bug: float32 is what a variant is made of")
    info.build.precision = precision.value
    info.build.opset = next(opset.version for opset in model.opset_import if opset.domain in ("", "ai.onnx"))
    info.golden_set.tolerance = precision.tolerance
    if precision is Precision.INT8:
        _answer_for_itself(model, info)
    return sealing.seal(model, info)


def _answer_for_itself(model: onnx.ModelProto, info: ModelInfo) -> None:
    """Replaces the golden probabilities, PyTorch's or an imported original's, by the graph's own.

    Rounding to 8 bits moves an int8 graph's probabilities further from those than a tolerance may allow that is
    to find out a wrong device. What the rounding costs is verification's question; the golden set asks whether a
    server computes this very graph.
    """
    golden: GoldenSet = info.golden_set
    shape = (info.input.height, info.input.width, info.input.channels)
    pixels = np.frombuffer(golden.pixels, np.uint8).reshape(-1, *shape)
    with tempfile.TemporaryDirectory(prefix="covey-export-") as folder:
        path = Path(folder, layout.FILE_NAME)
        path.write_bytes(model.SerializeToString())
        try:
            probabilities = Engine(path, choose("cpu")).run(pixels)
        except CoveyServerError as error:
            raise ConversionFailed(f"the server cannot run the int8 model: {error}; serve it in float32") from error
    golden.probabilities[:] = probabilities.ravel().tolist()
    golden.reference = "onnxruntime"
