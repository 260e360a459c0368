"""The messages of ModelStreamInfer, which hold those of ModelInfer, as in Triton."""

from __future__ import annotations

from itertools import islice

from covey_proto.inference import open_inference_pb2 as pb
from covey_proto.wire_format import DELIMITED, fields, write_varint
from covey_server.calls.service import Element
from covey_server.calls.status import Status

_REQUEST = pb.ModelInferRequest
_INFER = bytes((pb.ModelStreamInferResponse.INFER_RESPONSE_FIELD_NUMBER << 3 | 2,))
# In every answer, as in Triton: clients of models with several answers per request wait for it.
_FINAL = {"triton_final_response": pb.InferParameter(bool_param=True)}
_FINAL_FIELD = pb.ModelInferResponse(parameters=_FINAL).SerializeToString()
_FIRST_FIELDS = 8  # where the request's names are looked for: writers put them before the tensors


class InferElement(Element):
    """A ModelInferRequest. Its names are read in case it fails."""

    __slots__ = ("_names",)

    def __init__(self) -> None:
        self._names: dict[int, bytes] = {}

    def open(self, message: bytes) -> bytes:
        wanted = (_REQUEST.MODEL_NAME_FIELD_NUMBER, _REQUEST.MODEL_VERSION_FIELD_NUMBER, _REQUEST.ID_FIELD_NUMBER)
        try:
            for number, wire_type, start, stop in islice(fields(message, 0, len(message)), _FIRST_FIELDS):
                if number in wanted and wire_type == DELIMITED:
                    self._names[number] = message[start:stop]
        except ValueError:
            self._names.clear()  # no valid message: the parser reports it
        return message

    def reply(self, payload: bytes) -> bytes:
        # Fields appended to a message belong to it: protobuf merges them.
        return b"".join((_INFER, write_varint(len(payload) + len(_FINAL_FIELD)), payload, _FINAL_FIELD))

    def fail(self, status: Status) -> bytes:
        named = pb.ModelInferResponse(
            id=self._name(_REQUEST.ID_FIELD_NUMBER),
            model_name=self._name(_REQUEST.MODEL_NAME_FIELD_NUMBER),
            model_version=self._name(_REQUEST.MODEL_VERSION_FIELD_NUMBER),
            parameters=_FINAL,
        )
        return pb.ModelStreamInferResponse(error_message=status.message, infer_response=named).SerializeToString()

    def _name(self, number: int) -> str:
        return self._names.get(number, b"").decode(errors="replace")
