"""What lies beside a model: its card and its training report. Only files of these names are read, and only of models
that the server knows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from covey_server.batching.admission import Admission
from covey_server.calls.http import JSON, HttpCall, HttpHandler, Route, for_http
from covey_server.calls.service import handle
from covey_server.errors import Overloaded, Stopping, UnknownModel
from covey_server.protocols.rest import json_text
from covey_server.protocols.rest.settings import MAX_INT, number, require_query
from covey_server.system.regular_files import read_regular

MAX_FILE_BYTES = 32 << 20
_MAX_WAITING = 8
FILE_TYPES = {
    "MODEL_CARD.md": "text/markdown; charset=utf-8",
    "report.html": "text/html; charset=utf-8",
    "report.json": JSON,
    "verification.json": JSON,
}
# A report is somebody's file: opened by itself it may show its own pictures, and run its own script as a page of no
# origin, which can ask for nothing: neither this server with the visitor's rights, nor anyone else.
_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"
)


class ModelFiles:
    """Reads on a thread of its own: the folder may be on a disk that is slow."""

    def __init__(self, folder_of: Callable[[str, int], Path], admission: Admission) -> None:
        """`folder_of` is the folder of a model's version; it raises UnknownModel. `admission` counts what callers have
        not taken yet."""
        self._folder_of = folder_of
        self._admission = admission
        self._reader = ThreadPoolExecutor(1, "http-model-files")
        self._places = threading.BoundedSemaphore(_MAX_WAITING)

    @property
    def routes(self) -> tuple[Route, ...]:
        path = "/v1/models/{model}/files"
        return (
            Route(("GET",), path, for_http(partial(self._ask, self._list))),
            Route(("GET",), f"{path}/{{file}}", for_http(partial(self._ask, self._answer))),
        )

    def close(self) -> None:
        """Reads nothing more."""
        self._reader.shutdown(wait=False, cancel_futures=True)

    def _ask(self, answer: HttpHandler, call: HttpCall) -> None:
        require_query(call, ("version",))
        if not self._places.acquire(blocking=False):
            raise Overloaded(f"{_MAX_WAITING} files wait to be read; try again", retry_after_ms=1000)
        try:
            self._reader.submit(self._run, answer, call)
        except RuntimeError as error:  # it is closed
            self._places.release()
            raise Stopping("the server has stopped") from error

    def _run(self, answer: HttpHandler, call: HttpCall) -> None:
        try:
            handle(for_http(answer), call)
        finally:
            self._places.release()

    def _folder(self, call: HttpCall) -> Path:
        return self._folder_of(call.arguments["model"], number(call.query, "version", MAX_INT))

    def _list(self, call: HttpCall) -> None:
        folder = self._folder(call)
        call.reply(json_text.compact({"files": [name for name in FILE_TYPES if (folder / name).is_file()]}))

    def _answer(self, call: HttpCall) -> None:
        folder, file = self._folder(call), call.arguments["file"]
        if file not in FILE_TYPES:
            raise UnknownModel(f"there is no file {file[:64]!r}; expected one of {', '.join(FILE_TYPES)}")
        try:
            content = read_regular(folder / file, MAX_FILE_BYTES)
        except OSError as error:
            raise UnknownModel(f"model {call.arguments['model']!r} has no {file}: {error.strerror or error}") from None
        self._hold(len(content), call.peer)
        call.answer_type = FILE_TYPES[file]
        call.answer_headers = (("Content-Security-Policy", _POLICY), ("Cache-Control", "no-cache"))
        call.reply(content)

    def _hold(self, size_bytes: int, caller: str) -> None:
        """Counts a file until it is taken. Raises Overloaded where callers leave many: serving needs the rest."""
        unread_bytes, limit = self._admission.answer_bytes, self._admission.max_bytes >> 3
        if unread_bytes and unread_bytes + size_bytes > limit:
            raise Overloaded(
                f"{unread_bytes:,} bytes of answers are not read yet, and {size_bytes:,} more would pass the {limit:,} "
                f"that files may be of; try again later",
                retry_after_ms=1000,
            )
        self._admission.hold(size_bytes, caller)
