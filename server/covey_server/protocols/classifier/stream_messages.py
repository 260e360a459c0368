"""The messages of ClassifyStream. The Classify messages in them are cut out and put in as bytes, not parsed twice."""

from __future__ import annotations

from covey_proto.v1 import classifier_pb2 as pb
from covey_proto.wire_format import DELIMITED, VARINT, fields, read_varint, write_varint
from covey_server.calls.service import Element
from covey_server.calls.status import Status
from covey_server.errors import InvalidRequest

_REQUEST, _RESPONSE = pb.ClassifyStreamRequest, pb.ClassifyStreamResponse
_MAX_FIELDS = 16  # three are known; a message of many more would only take time
_MAX_US = 2**53  # 285 years
_ID, _ANSWER = (bytes((number << 3 | 2,)) for number in (_RESPONSE.ID_FIELD_NUMBER, _RESPONSE.RESPONSE_FIELD_NUMBER))


class ClassifyElement(Element):
    """A ClassifyStreamRequest with a ClassifyRequest in it."""

    __slots__ = ("_id", "deadline_us")

    def __init__(self) -> None:
        self._id = b""
        self.deadline_us = 0

    def open(self, message: bytes) -> bytes:
        request = b""
        try:
            for count, (number, wire_type, start, stop) in enumerate(fields(message, 0, len(message))):
                if count == _MAX_FIELDS:
                    raise ValueError(f"it has more than {_MAX_FIELDS} fields")
                field = number, wire_type  # of another type it is a field that nobody knows
                if field == (_REQUEST.ID_FIELD_NUMBER, DELIMITED):
                    self._id = message[start:stop]
                    self._id.decode()
                elif field == (_REQUEST.REQUEST_FIELD_NUMBER, DELIMITED):
                    request += message[start:stop]  # protobuf merges a field that comes twice
                elif field == (_REQUEST.DEADLINE_US_FIELD_NUMBER, VARINT):
                    self.deadline_us = min(read_varint(message, start)[0], _MAX_US)
        except ValueError as error:
            self._id = b""
            name = _REQUEST.DESCRIPTOR.full_name
            raise InvalidRequest(f"the {len(message):,} bytes are not a {name}: {error}") from error
        return request

    def reply(self, payload: bytes) -> bytes:
        return b"".join((_ID, write_varint(len(self._id)), self._id, _ANSWER, write_varint(len(payload)), payload))

    def fail(self, status: Status) -> bytes:
        error = pb.StreamError(code=status.name, message=status.message, retry_after_ms=status.retry_after_ms or 0)
        return _RESPONSE(id=self._id.decode(), error=error).SerializeToString()
