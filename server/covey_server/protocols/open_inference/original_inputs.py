"""Requests with an imported model's original input: its own tensor, as clients of the original file send it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covey_proto.inference import open_inference_pb2 as pb
from covey_proto.tensors import ENCODED, IMAGES
from covey_server.batching.output import Output
from covey_server.batching.request import Buffer, Request
from covey_server.calls.call import Call
from covey_server.errors import InvalidRequest
from covey_server.images.decode_pool import Steps
from covey_server.inference.original_input import OriginalInput
from covey_server.protocols.open_inference import inputs
from covey_server.protocols.open_inference.inputs import InputTensor
from covey_server.protocols.open_inference.outputs import OutputWriter
from covey_server.protocols.pipeline import Pipeline

_STANDARD = {IMAGES: "UINT8", ENCODED: "BYTES"}
_PIECE = 65_536  # numbers read in one go
MakeRequest = Callable[[Pipeline, Call, OriginalInput, OutputWriter, int, Buffer, int, str], Request]


def are_images(request: pb.ModelInferRequest, original: OriginalInput) -> bool:
    """Whether a request brings one of the inputs that every model has. The original one may have the name of one of
    these, but another datatype."""
    tensors = request.inputs
    if len(tensors) != 1:
        return False
    name = tensors[0].name
    return name in _STANDARD and (name != original.input_name or tensors[0].datatype == _STANDARD[name])


def infer(
    pipeline: Pipeline,
    call: Call,
    original: OriginalInput,
    request: pb.ModelInferRequest,
    raw: Buffer | None,
    make_request: MakeRequest,
) -> None:
    """Queues a request, once the model is loaded for its original input. `raw` is its contents if they were cut out.
    Raises InvalidRequest or Unsupported; then the call is not answered yet."""
    tensor = _only_input(request, original)
    if raw is None and request.raw_input_contents:
        raw = request.raw_input_contents[0]
    count = _count(tensor, original)
    if raw is not None and len(raw) != count * original.image_bytes:
        raise _wrong_size(f"{len(raw):,} bytes of raw_input_contents", count * original.image_bytes, tensor, original)
    k = _classes_asked(request, original)
    writer = original.prepared.get(OriginalWriter)
    if writer is None:
        writer = original.prepared[OriginalWriter] = OriginalWriter(original)

    def make() -> Steps[Request]:
        """On threads of the decode pool: looking at so many numbers takes long."""
        rows = raw if raw is not None else (yield from _typed_rows(tensor, count, original))
        _require_finite(rows, count, original)
        return make_request(pipeline, call, original, writer, k, rows, count, request.id)

    original.engine.when_open(partial(_begin, pipeline, call, original, count, make(), count * writer.row_bytes[k]))


def _begin(
    pipeline: Pipeline, call: Call, original: OriginalInput, count: int, steps: Steps[Request], answer_bytes: int,
    error: Exception | None,
) -> None:  # fmt: skip
    if error is not None:
        pipeline.fail(call, original, error, is_counted=False)
        return
    try:
        pipeline.prepare(call, original, count, steps, answer_bytes)
    except Exception as failed:  # noqa: BLE001 - whatever went wrong, the caller is answered
        pipeline.fail(call, original, failed)


def _only_input(request: pb.ModelInferRequest, original: OriginalInput) -> InputTensor:
    tensors = request.inputs
    if len(tensors) != 1 or tensors[0].name != original.input_name:
        raise InvalidRequest(
            f"{inputs.listed([tensor.name for tensor in tensors])} sent as input; send one of these alone: "
            f"{original.input_name!r} ({original.input_datatype}, as the original file takes it), {IMAGES!r} (UINT8 "
            f"pixels) or {ENCODED!r} (BYTES, image files)"
        )
    inputs.require_one_content(request)
    return tensors[0]


def _count(tensor: InputTensor, original: OriginalInput) -> int:
    """How many images the tensor's shape announces."""
    shape, one = tuple(tensor.shape), original.engine.shape
    if tensor.datatype != original.input_datatype:
        raise InvalidRequest(
            f"input {tensor.name!r} has datatype {tensor.datatype[:64]!r}; expected {original.input_datatype}, "
            f"prepared as for the original file. Convert it, or send UINT8 pixels as {IMAGES!r}, files as {ENCODED!r}"
        )
    if not shape or shape[1:] != one or shape[0] < 1:
        hint = ""
        if len(shape) == len(one) + 1 and sorted(shape[1:]) == sorted(one):
            hint = " The axes are in another order: transpose them."
        elif shape == one:
            hint = " Add the batch axis in front."
        raise InvalidRequest(
            f"input {tensor.name!r} has shape {list(shape[:8])}; model {original.name!r} expects "
            f"[N, {', '.join(map(str, one))}], N at least 1.{hint} Images of any size can be sent as {ENCODED!r}"
        )
    return shape[0]


def _classes_asked(request: pb.ModelInferRequest, original: OriginalInput) -> int:
    """As inputs.classes_asked, of the original's output."""
    names = [output.name for output in request.outputs]
    if names not in ([], [original.output_name]):
        raise InvalidRequest(
            f"{inputs.listed(names)} asked for as output; input {original.input_name!r} of model {original.name!r} is "
            f"answered with {original.output_name!r} alone. For probabilities send {IMAGES!r} or {ENCODED!r}"
        )
    if not names:
        return 0
    return min(inputs.classification(request.outputs[0]), len(original.output_labels))


def _typed_rows(tensor: InputTensor, count: int, original: OriginalInput) -> Steps[bytes]:
    """The bytes of typed contents. In steps, since no other thread runs while numbers are read."""
    contents, dtype = tensor.contents, original.engine.dtype
    if original.input_datatype == "FP16":
        raise InvalidRequest(
            f"input {tensor.name!r} is FP16, for which the protocol has no contents; send raw_input_contents"
        )
    field = "fp32_contents" if original.input_datatype == "FP32" else "uint_contents"
    values = getattr(contents, field)
    needed = count * original.image_bytes // dtype.itemsize
    if len(values) != needed:
        raise _wrong_size(f"{len(values):,} values in contents.{field}", needed, tensor, original)
    pieces = []
    try:
        for start in range(0, needed, _PIECE):
            if start:
                yield False
            pieces.append(np.array(values[start : start + _PIECE], dtype).tobytes())
    except OverflowError:
        raise InvalidRequest(
            f"contents.{field} of input {tensor.name!r} holds {max(values)}; UINT8 ends at 255"
        ) from None
    return b"".join(pieces)


def _require_finite(rows: Buffer, count: int, original: OriginalInput) -> None:
    """Raises InvalidRequest for NaN or infinity, which networks may turn into any answer."""
    dtype = original.engine.dtype
    if dtype == np.uint8:
        return
    values: NDArray[Any] = np.frombuffer(rows, dtype).reshape(count, -1)
    for place, row in enumerate(values):
        if not np.isfinite(row).all():
            wrong = int((~np.isfinite(row)).sum())
            raise InvalidRequest(
                f"input {original.input_name!r}: {wrong:,} numbers of image {place + 1} of {count} are NaN or "
                f"infinity; expected finite ones. Look at how the image was read and normalised"
            )


def _wrong_size(got: str, needed: int, tensor: InputTensor, original: OriginalInput) -> InvalidRequest:
    shape = " x ".join(map(str, tensor.shape))
    return InvalidRequest(
        f"input {tensor.name!r} has {got}; its shape {shape} of {original.input_datatype} needs {needed:,}"
    )


class OriginalWriter(OutputWriter):
    """Writes the original's output, in its own shape and datatype; by `classification` its best classes."""

    __slots__ = ("_dtype",)

    def __init__(self, original: OriginalInput) -> None:
        super().__init__(original.name, original.version, original.output_labels)
        engine = original.engine
        self._head = partial(_head, original.output_name, engine.output_datatype, engine.output_shape)
        self._dtype = engine.output_dtype
        self.row_bytes[0] = len(self._labels) * self._dtype.itemsize

    def rows(self, output: Output, k: int, first: int, count: int) -> Sequence[Buffer]:
        """As the original has them or, for k classes, as OutputWriter."""
        if k:
            return OutputWriter.rows(self, output, k, first, count)
        return [output.probabilities[first : first + count].astype(self._dtype).data.cast("B")]


@lru_cache(1024)
def _head(
    output: str,
    own_datatype: str,
    own_shape: tuple[int, ...],
    name: str,
    version: int,
    datatype: str,
    count: int,
    k: int,
) -> bytes:
    """All but the id and the values. `datatype` is BYTES where k classes are asked for."""
    is_text = datatype == "BYTES"
    tensor = pb.ModelInferResponse.InferOutputTensor(
        name=output, datatype=datatype if is_text else own_datatype, shape=(count, *((k,) if is_text else own_shape))
    )
    return pb.ModelInferResponse(model_name=name, model_version=str(version), outputs=[tensor]).SerializeToString()
