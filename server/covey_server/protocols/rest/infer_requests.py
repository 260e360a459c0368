"""Reads the body of an infer request: JSON, or JSON with the tensors' bytes behind it (the binary extension).

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md and
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from covey_proto.inference import open_inference_pb2 as pb
from covey_proto.wire_format import write_varint
from covey_server.calls.http import HttpCall
from covey_server.errors import InvalidRequest, RequestError
from covey_server.protocols.rest import json_text, tensors

LENGTH_HEADER = "inference-header-content-length"
_RAW = bytes((pb.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER << 3 | 2,))
_SMALL_HEAD_BYTES = 1024  # larger ones are read anew each time
_MAX_DIGITS = 12
_MAX_TENSORS = 64  # far more than a model has
_INT64 = range(-(2**63), 2**63)
_SIZE, _WANTS_BINARY, _ALL_BINARY = "binary_data_size", "binary_data", "binary_data_output"


@dataclass(frozen=True)
class Head:
    """What the JSON says. `message` is the request without its tensors' contents; `contents` has those of each input,
    or how many bytes of the body they are. `is_binary`: the answer is to have its tensors as bytes."""

    message: bytes
    contents: tuple[bytes | int, ...]
    is_binary: bool


def read_infer(body: bytes, header_length: str, model: str, version: str) -> tuple[bytes, bool]:
    """The ModelInferRequest in a body, and whether the answer is to be binary. Raises InvalidRequest,
    RequestTooLarge."""
    length = len(body)
    if header_length:
        length = _length(header_length)
        if not 0 < length <= len(body):
            raise InvalidRequest(
                f"Inference-Header-Content-Length is {header_length[:32]!r}; expected the bytes of the JSON at the "
                f"beginning of the body, 1 to {len(body):,}"
            )
    read = _known if length <= _SMALL_HEAD_BYTES else _read
    head = read(bytes(body[:length]), model, version)
    parts = [head.message]
    rest, place = memoryview(body), length
    for content in head.contents:
        if isinstance(content, int):
            if place + content > len(body):
                raise InvalidRequest(
                    f"the inputs' {_SIZE} are more than the {len(body) - length:,} bytes that follow the JSON"
                )
            piece: bytes | memoryview = rest[place : place + content]
            place += content
        else:
            piece = content
        parts += (_RAW, write_varint(len(piece)), piece)  # type: ignore[arg-type]
    if place != len(body):
        raise InvalidRequest(f"{len(body) - place:,} bytes follow the inputs; expected the sum of all {_SIZE}")
    return b"".join(parts), head.is_binary


def read_alike(
    bodies: Sequence[bytes], header_length: str, model: str, version: str
) -> tuple[list[bytes], bool] | None:
    """As `read_infer`, for bodies of one length that have the same JSON and one tensor's bytes behind it; None for
    others."""
    length = _length(header_length)
    if not 0 < length <= _SMALL_HEAD_BYTES or len({body[:length] for body in bodies}) > 1:
        return None
    try:
        head = _known(bodies[0][:length], model, version)
    except RequestError:
        return None
    size = len(bodies[0]) - length
    if head.contents != (size,):
        return None
    begin = head.message + _RAW + write_varint(size)
    return [begin + body[length:] for body in bodies], head.is_binary


def slow_bytes(call: HttpCall) -> int:
    """How many bytes of a body are slow to read: those of the JSON."""
    length = call.header(LENGTH_HEADER)
    return _length(length) if length else len(call.payload)


def _length(text: str) -> int:
    """The number in LENGTH_HEADER; -1 if it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS else -1


def set_parameters(target: Any, found: object, what: str) -> None:  # noqa: ANN401 - a map of any message
    """Copies parameters into a message's map. Raises InvalidRequest."""
    for name, value in _object(found, f"parameters of {what}").items():
        parameter = target[_text(name, f"the name of a parameter of {what}")]
        if isinstance(value, float) and not isinstance(parameter, pb.InferParameter) and value.is_integer():
            value = int(value)  # JSON has one kind of number, but these parameters hold whole ones only
        if isinstance(value, bool):
            parameter.bool_param = value
        elif isinstance(value, int) and value in _INT64:
            parameter.int64_param = value
        elif isinstance(value, str):
            parameter.string_param = _text(value, f"parameter {name[:64]!r} of {what}")
        elif isinstance(value, float) and isinstance(parameter, pb.InferParameter):
            parameter.double_param = value
        else:
            raise InvalidRequest(
                f"parameter {name[:64]!r} of {what} is {json_text.kind_of(value)}; expected true, false, a number of "
                f"64 bits or a string"
            )


def _read(text: bytes, model: str, version: str) -> Head:
    found = json_text.read_object(text)
    request = pb.ModelInferRequest(model_name=model, model_version=version)
    if "id" in found:
        request.id = _text(found["id"], "id")
    parameters = dict(_object(found.get("parameters", {}), "parameters"))
    is_binary = _flag(parameters, _ALL_BINARY, False)
    set_parameters(request.parameters, parameters, "the request")
    contents = [_read_input(request, each) for each in _objects(found.get("inputs"), "inputs")]
    for each in _objects(found.get("outputs", []), "outputs"):
        output = request.outputs.add(name=_text(each.get("name"), "name of an output"))
        parameters = dict(_object(each.get("parameters", {}), f"parameters of output {output.name!r}"))
        is_binary = _flag(parameters, _WANTS_BINARY, is_binary)
        set_parameters(output.parameters, parameters, f"output {output.name!r}")
    return Head(request.SerializeToString(), tuple(contents), is_binary)


_known = lru_cache(1024)(_read)


def _read_input(request: pb.ModelInferRequest, found: dict[str, Any]) -> bytes | int:
    name = _text(found.get("name"), "name of an input")
    datatype = _text(found.get("datatype"), f"datatype of input {name!r}")
    shape = found.get("shape")
    if not isinstance(shape, list) or not all(type(each) is int and each in _INT64 for each in shape):
        raise InvalidRequest(f"shape of input {name!r} is no array of whole numbers")
    tensor = request.inputs.add(name=name, datatype=datatype, shape=shape)
    parameters = dict(_object(found.get("parameters", {}), f"parameters of input {name!r}"))
    size = parameters.pop(_SIZE, None)
    set_parameters(tensor.parameters, parameters, f"input {name!r}")
    if size is None:
        if "data" in found:
            return tensors.read_data(found["data"], datatype, parameters.get("content_type"), name)
        raise InvalidRequest(f"input {name!r} has no data; send data, or {_SIZE} and the bytes behind the JSON")
    if "data" in found or type(size) is not int or size < 0:
        raise InvalidRequest(f"input {name!r} needs either data or a {_SIZE} from 0 up")
    return size


def _flag(parameters: dict[str, Any], name: str, default: bool) -> bool:
    """Takes a parameter out that is true or false."""
    found = parameters.pop(name, default)
    if not isinstance(found, bool):
        raise InvalidRequest(f"{name} is {json_text.kind_of(found)}; expected true or false")
    return found


def _objects(found: object, what: str) -> Sequence[dict[str, Any]]:
    if not isinstance(found, list) or len(found) > _MAX_TENSORS:
        raise InvalidRequest(
            f"{what} is {json_text.kind_of(found)}; expected an array of at most {_MAX_TENSORS} objects"
        )
    return [_object(each, f"an element of {what}") for each in found]


def _object(found: object, what: str) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise InvalidRequest(f"{what} is {json_text.kind_of(found)}; expected an object")
    return found


def _text(found: object, what: str) -> str:
    if not isinstance(found, str):
        raise InvalidRequest(f"{what} is {json_text.kind_of(found)}; expected a string")
    try:
        found.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"{what} holds half of a character") from None
    return found
