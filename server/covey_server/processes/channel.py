"""What the parent and one of its processes say to each other: JSON, one message a line, over a Unix socket.

Either side sends and asks, from any thread; one thread per side reads (`run`). A side that is gone ends `run` of the
other one.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

log = logging.getLogger(__name__)

Handle = Callable[[str, Any], Any]  # a message's kind and value; returns the answer, or a Future of it


class Unanswered(Exception):
    """The other side is gone, or failed to answer."""


class Channel:
    """One end. `handle` is called for each message, by the thread that reads."""

    def __init__(self, connected: socket.socket, handle: Handle) -> None:
        self._socket = connected
        self._handle = handle
        self._lines = connected.makefile("rb")
        self._sending = threading.Lock()
        self._numbers = itertools.count(1)
        self._asked: dict[int, Future[Any]] = {}
        self._is_closed = False

    def receive(self) -> tuple[str, Any]:
        """The next message, before `run`. Raises ConnectionError if the other side is gone."""
        line = b""
        with contextlib.suppress(OSError):
            line = self._lines.readline()
        if not line:
            raise ConnectionError("the other side is gone")
        message = json.loads(line)
        return message["kind"], message["value"]

    def send(self, kind: str, value: object = None) -> None:
        """Sends a message that needs no answer. Is lost if the other side is gone: `run` tells."""
        self._write({"kind": kind, "value": value})

    def ask(self, kind: str, value: object = None) -> Future[Any]:
        """Sends a message and returns its answer to come, or Unanswered."""
        answer: Future[Any] = Future()
        number = next(self._numbers)
        with self._sending:
            self._asked[number] = answer
        self._write({"kind": kind, "value": value, "ask": number})
        if self._is_closed:  # perhaps after `run` looked for those who wait
            self._fail_all()
        return answer

    def run(self) -> None:
        """Reads until the other side is gone, and closes this one."""
        with self._socket, self._lines, contextlib.suppress(OSError):
            for line in self._lines:
                self._take(json.loads(line))
        self._is_closed = True
        self._fail_all()

    def close(self) -> None:
        """Ends `run`, on both sides, from any thread."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _take(self, message: dict[str, Any]) -> None:
        if "answer" in message:
            with self._sending:
                asked = self._asked.pop(message["answer"], None)
            if asked is not None and "value" in message:
                asked.set_result(message["value"])
            elif asked is not None:
                asked.set_exception(Unanswered("the other side failed; its log says why"))
            return
        found: Future[Any] = Future()
        try:
            said = self._handle(message["kind"], message["value"])
        except Exception as error:
            log.exception("a message between processes was not handled; this is a bug")
            found.set_exception(error)
        else:
            if isinstance(said, Future):
                found = said
            else:
                found.set_result(said)
        if "ask" in message:
            found.add_done_callback(lambda done: self._answer(message["ask"], done))

    def _answer(self, number: int, done: Future[Any]) -> None:
        self._write({"answer": number} | ({} if done.exception() else {"value": done.result()}))

    def _write(self, message: dict[str, object]) -> None:
        line = json.dumps(message).encode() + b"\n"
        with self._sending, contextlib.suppress(OSError):
            self._socket.sendall(line)

    def _fail_all(self) -> None:
        with self._sending:
            asked, self._asked = list(self._asked.values()), {}
        for each in asked:
            each.set_exception(Unanswered("the other side is gone"))
