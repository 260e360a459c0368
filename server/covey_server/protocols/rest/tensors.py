"""Tensors in JSON and as bytes, by the datatypes of the Open Inference Protocol."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from covey_server.errors import InvalidRequest, RequestTooLarge, Unsupported
from covey_server.protocols.rest import json_text
from covey_server.protocols.rest.images import decode_base64

_DTYPES = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1", "INT16": "<i2",
    "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
MAX_JSON_OUTPUT_BYTES = 1 << 20  # writing 262,144 numbers in JSON takes 60 ms, in which no other thread runs
_BASE64 = "base64"
_LENGTH = struct.Struct("<I")  # before each element of BYTES


def read_data(data: object, datatype: str, content_type: object, name: str) -> bytes:
    """The raw contents of a tensor whose data came in JSON: numbers, flat or nested, or strings. BYTES of the
    `content_type` "base64" are decoded. Raises InvalidRequest, Unsupported."""
    if not isinstance(data, list):
        raise InvalidRequest(f"data of input {name!r} is {json_text.kind_of(data)}; expected an array")
    if datatype == "BYTES":
        return b"".join(_element(each, content_type, name) for each in _flat(data))
    dtype = _DTYPES.get(datatype)
    if dtype is None:
        raise Unsupported(
            f"input {name!r} has datatype {datatype[:64]!r}; read here are {', '.join(_DTYPES)} and BYTES"
        )
    wanted = np.dtype(dtype)
    try:
        found = np.array(data)
        if found.dtype.kind not in ("b" if wanted.kind == "b" else "iu" if wanted.kind in "iu" else "iuf"):
            raise ValueError(f"they are no {datatype}")
        if wanted.kind in "iu" and found.size:
            limits = np.iinfo(wanted)
            if int(found.min()) < limits.min or int(found.max()) > limits.max:
                raise ValueError(
                    f"they reach from {found.min()} to {found.max()}, {datatype} from {limits.min} to {limits.max}"
                )
        with np.errstate(over="raise"):
            return found.astype(wanted).tobytes()
    except (ValueError, TypeError, ArithmeticError) as error:
        raise InvalidRequest(f"data of input {name!r} are no numbers of {datatype}: {error}") from None


def write_data(raw: bytes, datatype: str) -> str:
    """A tensor's raw contents as an array in JSON, flat. Raises RequestTooLarge, Unsupported."""
    if len(raw) > MAX_JSON_OUTPUT_BYTES:
        raise RequestTooLarge(
            f"the answer's tensor has {len(raw):,} bytes, at most {MAX_JSON_OUTPUT_BYTES:,} are written in JSON; ask "
            f"for binary data (binary_data_output), or send fewer images",
            refused_for="answer_size",
        )
    if datatype == "BYTES":
        return f"[{','.join(map(_quoted, _elements(raw)))}]"
    values = np.frombuffer(raw, _DTYPES[datatype]).tolist()
    if datatype == "BOOL":
        return f"[{','.join(['true' if value else 'false' for value in values])}]"
    return f"[{','.join([f'{value:.9g}' for value in values])}]"


def _element(value: object, content_type: object, name: str) -> bytes:
    if content_type == _BASE64:
        octets = decode_base64(value, name)
    elif isinstance(value, str):
        octets = value.encode(errors="replace")
    else:
        raise InvalidRequest(f"data of input {name!r} holds {json_text.kind_of(value)}; expected strings")
    return _LENGTH.pack(len(octets)) + octets


def _elements(raw: bytes) -> list[bytes]:
    found, place = [], 0
    while place < len(raw):
        start = place + _LENGTH.size
        place = start + _LENGTH.unpack_from(raw, place)[0]
        found.append(raw[start:place])
    return found


def _quoted(octets: bytes) -> str:
    return json_text.quoted(octets.decode(errors="replace"))


def _flat(data: list[Any]) -> list[Any]:
    """The elements of arrays in arrays, without recursion. Each is looked at once."""
    found, open_arrays = [], [iter(data)]
    while open_arrays:
        for each in open_arrays[-1]:
            if isinstance(each, list):
                open_arrays.append(iter(each))
                break
            found.append(each)
        else:
            open_arrays.pop()
    return found
