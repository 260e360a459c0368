"""Runs the original model by onnxruntime, on images prepared as its own users prepare them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from covey_export.errors import InvalidSource
from covey_export.importing.graphs.signature import Signature
from covey_export.importing.settings.preset import Preset
from covey_export.importing.sources.onnx_file import OnnxFile, first_line

Scores = NDArray[np.float32]
_Runner = Callable[[NDArray[np.generic]], NDArray[np.generic]]

_LOG_FATAL_ONLY = 4
_TRIED_BATCHES = (1, 2, 4, 8, 16, 32, 64, 3)
_IMAGES_AT_ONCE = 16
_MODERN_OPSET = 17


class Original:
    """The file itself, in a session, or the network that it was exported from. `opset` and `model` are those that
    onnxruntime runs: the file's own, or, where it does not know those, converted ones; `notes` say so."""

    def __init__(self, file: OnnxFile, signature: Signature) -> None:
        """Raises InvalidSource where onnxruntime cannot run it, or where it gives no score for each class."""
        self.model, self.opset = file.model, file.opset
        self.notes: tuple[str, ...] = ()
        self._path = file.path
        self._run_model = file.run or self._start(file, signature)
        self.signature = self._with_batch(signature)
        self.classes = self._scores(np.zeros(signature.shape(self.signature.batch or 1), signature.dtype)).shape[1]

    def run(self, images: NDArray[np.uint8], preset: Preset) -> Scores:
        """The scores `[N, K] float32` of `[N, H, W, C] uint8`, as its own users get them: in batches of the file's own
        size where that is fixed, else one by one. Raises InvalidSource."""
        prepared = self.prepare(images, preset)
        size = self.signature.batch or 1
        rows = []
        for start in range(0, len(prepared), size):
            part = prepared[start : start + size]
            missing = size - len(part)
            filled = np.concatenate([part, np.repeat(part[-1:], missing, axis=0)]) if missing else part
            rows.append(self._scores(filled)[: len(part)])
        return np.concatenate(rows)

    def prepare(self, images: NDArray[np.uint8], preset: Preset) -> NDArray[np.generic]:
        """The original's input for images `[N, H, W, C] uint8`."""
        values = preset.apply(images)
        ordered = values.transpose(0, 3, 1, 2) if self.signature.layout == "NCHW" else values
        return np.ascontiguousarray(ordered.astype(self.signature.dtype))

    def run_raw(self, prepared: NDArray[np.generic]) -> Scores:
        """The scores of one batch of prepared input."""
        return self._scores(prepared)

    def _start(self, file: OnnxFile, signature: Signature) -> _Runner:
        session = self._load(file)

        def run(prepared: NDArray[np.generic]) -> NDArray[np.generic]:
            return np.asarray(session.run([signature.output_name], {signature.input_name: prepared})[0])

        return run

    def _load(self, file: OnnxFile) -> onnxruntime.InferenceSession:
        try:
            return _session(str(file.path))
        except Exception as error:  # noqa: BLE001 - onnxruntime's have no common base
            reason = first_line(error)
        if file.opset > onnx.defs.onnx_opset_version() or "opset" in reason.lower() or file.opset < 9:
            try:
                converted = onnx.version_converter.convert_version(file.model, _MODERN_OPSET)
                session = _session(converted.SerializeToString())
            except Exception:  # noqa: BLE001 - what onnxruntime said of the file itself is what helps
                pass
            else:
                self.model, self.opset = converted, _MODERN_OPSET
                self.notes = (f"its opset {file.opset} was converted to {_MODERN_OPSET}",)
                return session
        if file.opset > onnx.defs.onnx_opset_version():
            raise InvalidSource(
                f"{file.path}: its operators are those of opset {file.opset}; onnx {onnx.__version__} knows those up "
                f"to {onnx.defs.onnx_opset_version()}. Export it again, with an opset from 9 to 20"
            )
        others = sorted({f"{node.domain}.{node.op_type}" for node in file.model.graph.node if node.domain})
        other_operators = f" (operators of other domains: {', '.join(others)})" if others else ""
        raise InvalidSource(
            f"{file.path}: onnxruntime {onnxruntime.__version__} cannot load it: {reason}{other_operators}; expected a "
            f"network of standard ONNX operators. Export it again, with an opset from 9 to 20"
        )

    def _with_batch(self, signature: Signature) -> Signature:
        """The signature with the batch size that the file really takes: constants in the graph may fix it where the
        shape does not."""
        sizes = (signature.batch,) if signature.batch else _TRIED_BATCHES
        reasons = []
        for size in sizes:
            try:
                self._run_model(np.zeros(signature.shape(size), signature.dtype))
            except Exception as error:  # noqa: BLE001 - as above
                reasons.append(first_line(error))
                continue
            if size == 1 and signature.batch is None:
                return signature
            return replace(signature, batch=size)
        raise InvalidSource(
            f"{self._path}: onnxruntime cannot run it on an image of {signature.height}x{signature.width}: "
            f"{reasons[0]}; say another --image-size or --layout if that is wrong, or export the network again"
        )

    def _scores(self, prepared: NDArray[np.generic]) -> Scores:
        try:
            output = self._run_model(prepared)
        except Exception as error:
            raise InvalidSource(
                f"{self._path}: onnxruntime failed on a batch of {len(prepared)}: {first_line(error)}; export the "
                f"network again"
            ) from error
        return score_rows(output, len(prepared), f"{self._path}: output {self.signature.output_name}")


def score_rows(output: NDArray[np.generic], images: int, origin: str) -> Scores:
    """Scores `[N, K] float32` from an output of `[N, K]`, `[N, K, 1, 1]` or `[N, 1, 1, K]`. Raises InvalidSource."""
    shape = output.shape
    message = f"{origin}: expected a score for each class, [{images}, K], got {list(shape)} {output.dtype}"
    if output.dtype.kind != "f":
        raise InvalidSource(
            f"{message}: these are not scores but class numbers or text; import a file that gives scores"
        )
    if len(shape) in (2, 4) and shape[0] == images and output.size == images * max(shape[1:], default=0):
        return cast("Scores", output.reshape(images, -1).astype(np.float32))
    hint = {
        1: "no batch axis is left. Export the network without squeezing its output",
        3: "a detector, or a model of sequences, gives three dimensions. Import an image classifier",
        4: "a network without its head, or one of segmentation, gives maps. Import a classifier with its last layers",
    }.get(len(shape), "import an image classifier")
    raise InvalidSource(f"{message}; {hint}")


def _session(model: str | bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _LOG_FATAL_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
