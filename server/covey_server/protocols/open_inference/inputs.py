"""Reads a ModelInferRequest and checks it against the model. Pure functions; what is wrong with a request is found
here, before anything waits.

Tensors, and the two ways to send their contents: https://github.com/kserve/open-inference-protocol
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from covey_proto import image_formats, layout
from covey_proto.inference import open_inference_pb2 as pb
from covey_proto.tensors import EMBEDDING, ENCODED, IMAGES, KNOWN, PROBABILITIES
from covey_server.batching.request import Buffer
from covey_server.calls.call import Call
from covey_server.errors import InvalidRequest, Unsupported
from covey_server.images.decode_pool import Steps
from covey_server.inference.served_model import ServedModel

RAW = (pb.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER,)
InputTensor = pb.ModelInferRequest.InferInputTensor

_EXPECTED = f"send one input: {IMAGES!r} (UINT8 pixels) or {ENCODED!r} (BYTES: {image_formats.listed()} files)"
_LENGTH = struct.Struct("<I")  # before each element of a raw BYTES tensor
_MAX_BYTE = 255
_PIECE = 65_536  # numbers read in one go


def version_number(text: str) -> int:
    """The version a text asks for; 0 if it is empty. Raises InvalidRequest for anything that is no version."""
    if not text:
        return 0
    if not layout.is_version(text):
        raise InvalidRequest(f"version {text[:64]!r}: expected a whole number from 1 up, or nothing for the highest")
    return int(text)


def shorten_deadline(call: Call, request: pb.ModelInferRequest) -> None:
    """Applies the parameter `timeout`, in microseconds from the arrival on; 0 is none, as in Triton. Unknown parameters
    are ignored, as the protocol demands. Raises InvalidRequest for anything but a number from 0 up."""
    if "timeout" not in request.parameters:
        return
    timeout_us = _whole_number(request.parameters["timeout"], "parameter 'timeout' (microseconds)", minimum=0)
    if not timeout_us:
        return
    deadline_ns = call.arrived_ns + timeout_us * 1000
    call.deadline_ns = deadline_ns if call.deadline_ns is None else min(call.deadline_ns, deadline_ns)


def take_extra(request: pb.ModelInferRequest, model: ServedModel) -> tuple[str, ...]:
    """Which outputs are asked for beside the probabilities: those that the model has and that are answered by name
    alone, `known` and `embedding`. Takes them out of the request."""
    names = [output.name for output in request.outputs]
    extra = tuple(name for name in extra_outputs(model) if names.count(name) == 1)
    for place in range(len(names) - 1, -1, -1):
        if names[place] in extra:  # `classes_asked` refuses what is left
            del request.outputs[place]
    return extra


def extra_outputs(model: ServedModel) -> tuple[str, ...]:
    """The outputs of a model that are answered by name alone."""
    return (*((KNOWN,) if model.known_from is not None else ()), *((EMBEDDING,) if model.embedding_size else ()))


def classes_asked(request: pb.ModelInferRequest, model: ServedModel) -> int:
    """How many classes per image are asked for (the parameter `classification`), at most all of them; 0 if the
    probabilities are.

    Raises InvalidRequest for outputs that the model does not have.
    """
    outputs = request.outputs
    if not outputs:
        return 0
    if len(outputs) != 1 or outputs[0].name != PROBABILITIES:
        extra = "".join(f"; beside it {name!r}, to be named once" for name in extra_outputs(model))
        raise InvalidRequest(
            f"{listed([output.name for output in outputs])} asked for as output; model {model.name!r} has one, "
            f"{PROBABILITIES!r}, to be named once or left out{extra}"
        )
    return min(classification(outputs[0]), len(model.labels))


def classification(output: pb.ModelInferRequest.InferRequestedOutputTensor) -> int:
    """How many classes per image a requested output asks for; 0 if none. Raises InvalidRequest, Unsupported."""
    parameters = output.parameters
    if "shared_memory_region" in parameters:
        raise Unsupported("answers in shared memory are not supported; omit shared_memory_region")
    if "classification" not in parameters:
        return 0
    return _whole_number(parameters["classification"], "output parameter 'classification' (number of classes)")


def only_input(request: pb.ModelInferRequest) -> InputTensor:
    """The tensor with the images. Raises InvalidRequest unless it is the only one and its data comes in exactly one of
    the two ways."""
    tensors = request.inputs
    if len(tensors) != 1 or tensors[0].name not in (IMAGES, ENCODED):
        raise InvalidRequest(f"{listed([tensor.name for tensor in tensors])} sent as input; {_EXPECTED}")
    require_one_content(request)
    return tensors[0]


def require_one_content(request: pb.ModelInferRequest) -> None:
    """Raises InvalidRequest unless the data of the one input comes in exactly one of the two ways."""
    tensor, raw = request.inputs[0], request.raw_input_contents
    typed = tensor.HasField("contents")
    if len(raw) == 1 and not typed:
        return
    if raw and typed:
        raise InvalidRequest(
            f"input {tensor.name!r} has contents and the request has raw_input_contents too; send one of them"
        )
    if raw:
        raise InvalidRequest(f"{len(raw)} entries of raw_input_contents for 1 input; send one entry per input")
    if "shared_memory_region" in tensor.parameters:
        raise Unsupported(f"input {tensor.name!r} lies in shared memory, which is not read here; send the bytes")
    if not typed:
        raise InvalidRequest(f"input {tensor.name!r} has no data; send raw_input_contents, or contents in the input")


def _other_way(model: ServedModel) -> str:
    """Of an imported model: the input that takes numbers of the original's kind."""
    if (original := model.original) is None:
        return ""
    return f". For {original.input_datatype} as the original file takes it, send {original.input_name!r}"


def count_images(tensor: InputTensor, model: ServedModel) -> int:
    """How many images the tensor's shape announces. Raises InvalidRequest for another datatype or shape."""
    shape = tuple(tensor.shape)
    datatype, one = ("UINT8", model.input_shape) if tensor.name == IMAGES else ("BYTES", ())
    if tensor.datatype != datatype:
        raise InvalidRequest(
            f"input {tensor.name!r} has datatype {tensor.datatype[:64]!r}; expected {datatype}{_other_way(model)}"
        )
    if not shape or shape[1:] != one or shape[0] < 1:
        expected = ", ".join(("N", *map(str, one)))
        hint = f" Resize the images, or send them as {ENCODED!r}: then the server does." if one else ""
        raise InvalidRequest(
            f"input {tensor.name!r} has shape {list(shape[:8])}; model {model.name!r} expects [{expected}], N at "
            f"least 1.{hint}"
        )
    return shape[0]


def require_pixels(raw: Buffer, count: int, model: ServedModel) -> None:
    """Raises InvalidRequest unless these are the pixels of `count` images."""
    if len(raw) != count * model.image_bytes:
        raise _wrong_size(f"{len(raw):,} bytes of raw_input_contents", count, model)


def typed_pixels(tensor: InputTensor, count: int, model: ServedModel) -> Steps[bytes]:
    """The pixels of `count` images from typed contents, one number per pixel. In steps, since no other thread runs
    while `bytes` reads numbers. Raises InvalidRequest."""
    values = tensor.contents.uint_contents
    if len(values) != count * model.image_bytes:
        raise _wrong_size(f"{len(values):,} values in contents.uint_contents", count, model)
    pieces = []
    try:
        for start in range(0, len(values), _PIECE):
            if start:
                yield False
            pieces.append(bytes(values[start : start + _PIECE]))
    except ValueError:
        raise InvalidRequest(
            f"contents.uint_contents of input {IMAGES!r} holds {max(values)}; UINT8 ends at {_MAX_BYTE}"
        ) from None
    return b"".join(pieces)


def encoded_images(raw: Buffer | None, tensor: InputTensor, count: int) -> list[bytes]:
    """The files of a BYTES tensor, from raw_input_contents or typed contents. Raises InvalidRequest unless there are
    `count`."""
    if raw is not None:
        return _split(raw, count)
    files = list(tensor.contents.bytes_contents)
    if len(files) != count:
        raise InvalidRequest(
            f"input {ENCODED!r} has shape [{count}] and {len(files):,} elements in contents.bytes_contents"
        )
    return files


def _split(raw: Buffer, count: int) -> list[bytes]:
    """The elements of a raw BYTES tensor: four bytes of length, little-endian, then the bytes."""
    files: list[bytes] = []
    place = 0
    for _ in range(count):
        start = place + _LENGTH.size
        stop = start + _LENGTH.unpack_from(raw, place)[0] if start <= len(raw) else math.inf
        if stop > len(raw):
            raise InvalidRequest(
                f"raw_input_contents of input {ENCODED!r} ends within element {len(files)} of {count}; expected four "
                f"bytes of length (little-endian) before each file"
            )
        files.append(bytes(raw[start : int(stop)]))
        place = int(stop)
    if place != len(raw):
        raise InvalidRequest(
            f"raw_input_contents of input {ENCODED!r} has {len(raw) - place:,} bytes after its {count} elements"
        )
    return files


def _whole_number(parameter: pb.InferParameter, name: str, minimum: int = 1) -> int:
    kind = parameter.WhichOneof("parameter_choice")
    value = getattr(parameter, kind) if kind in ("int64_param", "uint64_param") else None
    if value is None or value < minimum:
        got = f"{kind or 'nothing'}{'' if value is None else f' {value}'}"
        raise InvalidRequest(f"{name}: expected int64_param from {minimum} up, got {got}")
    return int(value)


def _wrong_size(got: str, count: int, model: ServedModel) -> InvalidRequest:
    shape = " x ".join(map(str, (count, *model.input_shape)))
    return InvalidRequest(f"input {IMAGES!r} has {got}; its shape {shape} needs {count * model.image_bytes:,}")


def listed(names: Sequence[str]) -> str:
    """A caller's names for an error message, cut to the first few and to a bounded length."""
    shown = ", ".join(repr(name[:64]) for name in names[:8])
    return (shown or "nothing") + (f" and {len(names) - 8} more" if len(names) > 8 else "")
