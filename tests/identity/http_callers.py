"""Callers of a campaign over HTTP: each has a connection of its own, and knows what it must be answered."""

from __future__ import annotations

import http.client
import json
import random
import socket
import threading
import time
from collections.abc import Container, Mapping
from email.message import Message
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tests.identity.callers import BROKEN, CLASSES, PIXELS, Score, files, images

_PATH = "/v2/models/echo/infer"
_FILES_PATH = f"/v1/models/echo/classify?top_k={CLASSES}"
_FORM = {"Content-Type": "multipart/form-data; boundary=edge"}
_LENGTH = "Inference-Header-Content-Length"
_TIMEOUT_S = 30.0
_MAX_AHEAD = 12


class HttpCaller:
    """Calls until it is told to end."""

    def __init__(self, port: int, kind: str, seed: int, score: Score, ended: threading.Event) -> None:
        self._kind = kind
        self._chance = random.Random(seed)
        self._score = score
        self._ended = ended
        self._address = ("127.0.0.1", port)
        self._connection = http.client.HTTPConnection(*self._address, timeout=_TIMEOUT_S)

    def run(self) -> None:
        """Calls; what it is not answered is counted as lost."""
        once = {
            "http": self._call,
            "http ahead": self._call_ahead,
            "http files": self._call_files,
            "http leaving": self._leave,
        }[self._kind]
        while not self._ended.is_set():
            try:
                once()
            except (OSError, http.client.HTTPException, IndexError):  # IndexError: no further answer
                self._score.note_fault("lost")
                self._connection.close()
        self._connection.close()

    def _call(self) -> None:
        """One request at a time on a connection that is kept, now and then of an image that breaks the model."""
        is_broken = self._chance.random() < 0.2
        pixels = np.full((1, PIXELS), BROKEN, np.uint8) if is_broken else images(self._chance, 300)
        is_binary = self._chance.random() < 0.7
        body, fields = _request(pixels, is_binary)
        self._connection.request("POST", _PATH, body, fields)
        response = self._connection.getresponse()
        self._judge(response.status, response.headers, response.read(), pixels, is_broken)

    def _call_ahead(self) -> None:
        """Several on one connection, none of which waits for an answer."""
        sent = [images(self._chance, 20) for _ in range(self._chance.randrange(1, _MAX_AHEAD))]
        with socket.create_connection(self._address, timeout=_TIMEOUT_S) as connection:
            for pixels in sent:
                connection.sendall(_as_bytes(pixels))
            reader = connection.makefile("rb")
            for pixels in sent:
                status = int(reader.readline().split()[1])
                headers = http.client.parse_headers(reader)
                self._judge(status, headers, reader.read(int(headers["Content-Length"])), pixels)

    def _call_files(self) -> None:
        """A form, now and then with files that cannot be read."""
        pixels = images(self._chance, self._chance.choice((20, 200)))
        unread = {place for place in range(len(pixels)) if self._chance.random() < 0.02}
        self._connection.request("POST", _FILES_PATH, _form(pixels, unread), _FORM)
        response = self._connection.getresponse()
        body = response.read()
        if response.status != 200:
            self._score.note_fault("innocent", f"{response.status} {body[:200]!r}")
        elif are_right_files(found := json.loads(body), pixels, unread):
            self._score.note("OK, files over HTTP", len(pixels))
            self._score.note_batch(found["timing"]["batch_size"], len(pixels) - len(unread))
        else:
            self._score.note_fault("wrong")

    def _leave(self) -> None:
        """Hangs up in the middle of a request, or before its answer comes."""
        pixels = images(self._chance, 50)
        data = _as_bytes(pixels) if self._chance.random() < 0.5 else _whole(_FILES_PATH, _form(pixels, ()), _FORM)
        with socket.create_connection(self._address, timeout=_TIMEOUT_S) as connection:
            connection.sendall(data[: self._chance.choice((len(data), self._chance.randrange(len(data))))])
            time.sleep(self._chance.uniform(0, 0.005))
        self._score.note("hung up")

    def _judge(
        self, status: int, headers: Message, body: bytes, pixels: NDArray[np.uint8], is_broken: bool = False
    ) -> None:
        if is_broken:
            if status == 500:
                self._score.note("guilty: 500")
            else:
                self._score.note_fault("wrong")
        elif status != 200:
            self._score.note_fault("innocent", f"{status} {body[:200]!r}")
        elif is_right_over_http(body, int(headers.get(_LENGTH, len(body))), pixels):
            self._score.note("OK over HTTP", len(pixels))
        else:
            self._score.note_fault("wrong")


def are_right_files(answer: dict[str, Any], pixels: NDArray[np.uint8], unread: Container[int]) -> bool:
    """Whether the answer to a form has the rows of these very images, and errors for those that cannot be read."""
    results = answer["results"]
    for place, (result, row) in enumerate(zip(results, pixels, strict=False)):
        found = {each["index"]: each["probability"] for each in result.get("classes", ())}
        expected = {} if place in unread else dict(enumerate(row[:CLASSES] / 255))
        if found.keys() != expected.keys() or any(abs(found[index] - expected[index]) > 1e-6 for index in expected):
            return False
    return len(results) == len(pixels)


def is_right_over_http(body: bytes, head_bytes: int, pixels: NDArray[np.uint8]) -> bool:
    """Whether the answer has the rows of these very images."""
    (output,) = json.loads(body[:head_bytes])["outputs"]
    raw = body[head_bytes:]
    found = np.frombuffer(raw, "<f4") if raw else np.array(output["data"])
    return output["shape"] == [len(pixels), CLASSES] and np.allclose(
        found.reshape(len(pixels), CLASSES), pixels[:, :CLASSES] / 255, atol=1e-6
    )


def _request(pixels: NDArray[np.uint8], is_binary: bool) -> tuple[bytes, dict[str, str]]:
    """Body and headers of an infer request, with its tensors as bytes or all of it in JSON."""
    tensor: dict[str, object] = {"name": "images", "datatype": "UINT8", "shape": [len(pixels), 4, 4, 1]}
    if not is_binary:
        return json.dumps({"inputs": [{**tensor, "data": pixels.ravel().tolist()}]}).encode(), {}
    tensor["parameters"] = {"binary_data_size": pixels.nbytes}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return head + pixels.tobytes(), {_LENGTH: str(len(head))}


def _form(pixels: NDArray[np.uint8], unread: Container[int]) -> bytes:
    """The images as files of a form; those in `unread` cut in the middle."""
    parts = []
    for place, file in enumerate(files(pixels)):
        parts.append(b"--edge\r\nContent-Disposition: form-data; name=a; filename=a\r\n\r\n")
        parts += [file[: len(file) // 2] if place in unread else file, b"\r\n"]
    return b"".join((*parts, b"--edge--\r\n"))


def _as_bytes(pixels: NDArray[np.uint8]) -> bytes:
    """The whole infer request."""
    return _whole(_PATH, *_request(pixels, is_binary=True))


def _whole(path: str, body: bytes, fields: Mapping[str, str]) -> bytes:
    fields = {**fields, "Host": "a", "Content-Length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body
