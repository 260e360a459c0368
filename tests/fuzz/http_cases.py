"""Owns requests over HTTP as bytes on the wire, right and mutated: heads, bodies, both."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterator

import numpy as np
from tests.fuzz.case import Case
from tests.fuzz.mutations import mutate
from tests.fuzz.samples import ECHO_CLASSES, image_files

_STATUSES = (200, 204, 400, 403, 404, 405, 408, 411, 413, 415, 417, 421, 422, 429, 431, 501, 504)  # 500 is none of them
RIGHT, BODY, HEAD, WHOLE = "http right", "http body", "http head", "http whole"
FRAMED = (RIGHT, BODY)  # their framing is right, so that each must be answered
_KINDS, _SHARES = (RIGHT, BODY, HEAD, WHOLE), (5, 45, 25, 25)
_PIXELS = 16
_FORM = b"--edge\r\nContent-Disposition: form-data; name=a; filename=a\r\n\r\n%b\r\n"
_QUERIES = (b"", b"", b"?top_k=3", b"?top_k=0", b"?version=1&timeout_ms=60000", b"?timeout_ms=1", b"?%00=%ff", b"?a&a")


def http_case(seed: int, number: int) -> Case:
    """Request `number` of a run. Its `body` is all of it, line and headers included."""
    chance = random.Random(f"http {seed} {number}")
    kind = chance.choices(_KINDS, _SHARES)[0]
    if kind == RIGHT:
        return _right(number, chance)
    line, fields, body = chance.choice((_file, _form, _json, _binary, _get))(chance)
    if kind == BODY:
        body = mutate(chance, body, ())
    head = _head(line, fields, body)
    if kind == HEAD:
        head = mutate(chance, head, ())
    data = head + body
    if kind == WHOLE:
        data = mutate(chance, data, ())
    return Case(number, kind, (), data, frozenset(_STATUSES))


def http_cases(seed: int, count: int) -> Iterator[Case]:
    """All of a run."""
    return (http_case(seed, number) for number in range(count))


def _right(number: int, chance: random.Random) -> Case:
    line, fields, body = _binary(chance)
    pixels = np.frombuffer(body[-_PIXELS:], np.uint8)
    expected = (int(pixels[:ECHO_CLASSES].argmax()),)
    return Case(number, RIGHT, (), _head(line, fields, body) + body, frozenset((200,)), expected=expected)


_Parts = tuple[bytes, bytes, bytes]  # line, headers, body


def _head(line: bytes, fields: bytes, body: bytes) -> bytes:
    length = b"Content-Length: %d\r\n" % len(body) if body or not line.startswith(b"GET") else b""
    return line + b" HTTP/1.1\r\nHost: localhost\r\n" + fields + length + b"\r\n"


def _file(chance: random.Random) -> _Parts:
    path = chance.choice((b"/v1/models/colour/classify", b"/predictions/colour", b"/predictions/echo/1.0"))
    return b"POST " + path + chance.choice(_QUERIES), b"Content-Type: image/png\r\n", chance.choice(image_files())


def _form(chance: random.Random) -> _Parts:
    files = chance.choices(image_files(), k=chance.choice((1, 2, 5)))
    body = b"".join(_FORM % file for file in files) + b"--edge--\r\n"
    fields = b"Content-Type: multipart/form-data; boundary=" + chance.choice((b"edge", b'"edge"')) + b"\r\n"
    return b"POST /v1/models/colour/classify" + chance.choice(_QUERIES), fields, body


def _json(chance: random.Random) -> _Parts:
    fields = b"Content-Type: application/json\r\n"
    text = base64.b64encode(chance.choice(image_files())[:4000]).decode()
    if chance.random() < 0.5:
        found: dict[str, object] = {"images": [text] * 2} if chance.random() < 0.5 else {"image": text, "top_k": 2}
        return b"POST /v1/models/colour/classify", fields, json.dumps(found).encode()
    data: object = chance.choices(range(256), k=_PIXELS)
    tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 4, 4, 1], "data": data}
    encoded: dict[str, object] = {"name": "encoded", "datatype": "BYTES", "shape": [1], "data": [text]}
    encoded["parameters"] = {"content_type": "base64"}
    asked = {"id": "a", "inputs": [chance.choice((tensor, encoded))], "outputs": [{"name": "probabilities"}]}
    return b"POST /v2/models/echo/infer" + chance.choice(_QUERIES), fields, json.dumps(asked).encode()


def _binary(chance: random.Random) -> _Parts:
    tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 4, 4, 1], "parameters": {"binary_data_size": _PIXELS}}
    text = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    fields = b"Inference-Header-Content-Length: %d\r\n" % len(text)
    return b"POST /v2/models/echo/infer", fields, text + bytes(chance.sample(range(256), _PIXELS))


def _get(chance: random.Random) -> _Parts:
    paths = (
        b"/v1/models",
        b"/v1/models/echo",
        b"/v2",
        b"/v2/models/echo/config",
        b"/readyz",
        b"/ping",
        b"/v2/models/stats",
    )
    fields = (
        b"",
        b"Origin: https://a.example\r\n",
        b"Connection: Upgrade\r\nUpgrade: h2c\r\n",
        b"Expect: 100-continue\r\n",
    )
    return chance.choice((b"GET ", b"HEAD ", b"OPTIONS ")) + chance.choice(paths), chance.choice(fields), b""
