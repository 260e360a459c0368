"""Writes the body of the answer to an infer request: JSON, or JSON with the tensors' bytes behind it.

See infer_requests for the specifications.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from covey_proto.inference import open_inference_pb2 as pb
from covey_server.calls.http import JSON, LARGE_BYTES, Body, HttpCall, Written
from covey_server.errors import RequestError
from covey_server.protocols.rest import json_text, tensors
from covey_server.protocols.rest.infer_requests import LENGTH_HEADER
from covey_server.protocols.wire_format import cut_out

_OCTETS = "application/octet-stream"
_LENGTH = "-".join(word.capitalize() for word in LENGTH_HEADER.split("-"))
_RAW = (pb.ModelInferResponse.RAW_OUTPUT_CONTENTS_FIELD_NUMBER,)
_MAX_FORMS = 256


def write_json(payload: bytes) -> bytes:
    """A ModelInferResponse as JSON. Raises RequestTooLarge, Unsupported."""
    message = pb.ModelInferResponse.FromString(payload)
    outputs = [
        f'{json_text.compact(_output(output)).decode()[:-1]},"data":{tensors.write_data(raw, output.datatype)}}}'
        for output, raw in zip(message.outputs, message.raw_output_contents, strict=True)
    ]
    return f'{json_text.compact(_about(message)).decode()[:-1]},"outputs":[{",".join(outputs)}]}}'.encode()


def write_all_json(payloads: Sequence[bytes]) -> Written | None:
    """As `write_json`, for several answers; None if one of them cannot be written so."""
    try:
        return Written(JSON, (), [write_json(payload) for payload in payloads])
    except RequestError:
        return None


def write_binary(call: HttpCall, payload: bytes) -> Body:
    """A ModelInferResponse as JSON with the tensors' bytes behind it; those of a large one are not copied. Sets the
    call's headers."""
    cut = cut_out(payload, _RAW) if len(payload) > LARGE_BYTES else None
    if cut is None:
        head, *raw = _in_parts(payload)
        body: Body = b"".join((head, *raw))
    else:
        rest, start, stop = cut
        head = _binary_head(rest, (stop - start,))
        body = head, memoryview(payload)[start:stop]
    call.answer_type, call.answer_headers = _OCTETS, _headers(head)
    return body


class BinaryAnswers:
    """The same for answers that differ only in their tensor. What comes before the tensor is kept with the JSON that it
    becomes, by the answer's length: equal bytes, the tensor's own length among them, say the same. Safe from any
    thread."""

    def __init__(self) -> None:
        self._forms: dict[int, tuple[bytes, bytes]] = {}

    def write(self, payloads: Sequence[bytes]) -> Written | None:
        """All answers, which must be alike; None if they are not."""
        first = payloads[0]
        form = self._forms.get(len(first))
        if form is None or not first.startswith(form[0]):
            form = self._learn(first)
            if form is None:
                return None
        begin, head = form
        start = len(begin)
        if len(payloads) > 1 and (
            len(set(map(len, payloads))) > 1 or len({payload[:start] for payload in payloads}) > 1
        ):
            return None
        return Written(_OCTETS, _headers(head), [head + payload[start:] for payload in payloads])

    def _learn(self, payload: bytes) -> tuple[bytes, bytes] | None:
        cut = cut_out(payload, _RAW)
        if cut is None or cut[2] != len(payload):
            return None
        if len(self._forms) >= _MAX_FORMS:
            self._forms.clear()
        form = self._forms[len(payload)] = payload[: cut[1]], _in_parts(payload)[0]
        return form


def _headers(head: bytes) -> tuple[tuple[str, str], ...]:
    return ((_LENGTH, str(len(head))),)


def _in_parts(payload: bytes) -> tuple[bytes, ...]:
    """The JSON, and the bytes of each tensor."""
    message = pb.ModelInferResponse.FromString(payload)
    raw = tuple(message.raw_output_contents)
    message.ClearField("raw_output_contents")
    return _binary_head(message.SerializeToString(), tuple(map(len, raw))), *raw


@lru_cache(1024)
def _binary_head(payload: bytes, sizes: tuple[int, ...]) -> bytes:
    message = pb.ModelInferResponse.FromString(payload)
    outputs = []
    for output, size in zip(message.outputs, sizes, strict=True):
        found = _output(output)
        found["parameters"] = {**found.get("parameters", {}), "binary_data_size": size}
        outputs.append(found)
    return json_text.compact({**_about(message), "outputs": outputs})


def _about(message: pb.ModelInferResponse) -> dict[str, Any]:
    found: dict[str, Any] = {"model_name": message.model_name, "model_version": message.model_version}
    if message.id:
        found["id"] = message.id
    if message.parameters:
        found["parameters"] = _parameters(message.parameters)
    return found


def _output(output: pb.ModelInferResponse.InferOutputTensor) -> dict[str, Any]:
    found: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": list(output.shape)}
    if output.parameters:
        found["parameters"] = _parameters(output.parameters)
    return found


def _parameters(found: Mapping[str, pb.InferParameter]) -> dict[str, Any]:
    return {name: getattr(value, str(value.WhichOneof("parameter_choice")), None) for name, value in found.items()}
