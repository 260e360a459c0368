"""Labelling in the browser: a page for this machine alone, at an address that nobody can guess."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from socketserver import TCPServer
from typing import Any
from urllib.parse import unquote

from covey.errors import InvalidInput
from covey.labelling import keys
from covey.labelling.captures import Capture, Captures
from covey_proto import image_formats

_FILES = {
    "": ("page.html", "text/html; charset=utf-8"),
    "page.js": ("page.js", "text/javascript; charset=utf-8"),
    "page.css": ("page.css", "text/css; charset=utf-8"),
}
_MAX_BODY_BYTES = 65_536
_MAX_READ_BYTES = 1 << 20
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'"
)
_HOST = "127.0.0.1"


class LabelPage(ThreadingHTTPServer):
    """Serves the page of one folder until somebody ends it there."""

    daemon_threads = True

    def __init__(self, captures: Captures, port: int = 0) -> None:
        """`port` 0: one that is free. Raises InvalidInput where it is taken."""
        self.captures = captures
        self.changing = threading.Lock()  # two tabs ask at the same time
        self.token = secrets.token_urlsafe(16)
        try:
            super().__init__((_HOST, port), _Handler)
        except OSError as error:
            raise InvalidInput(
                f"port {port} cannot be listened on: {error.strerror}; name another with --port"
            ) from error
        self.url = f"http://{_HOST}:{self.server_port}/{self.token}/"

    def server_bind(self) -> None:
        """As HTTPServer does it, without asking a name server who 127.0.0.1 is."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = _HOST, self.socket.getsockname()[1]

    @contextmanager
    def running(self) -> Iterator[threading.Thread]:
        """Serves on a thread, which ends when the person does."""
        thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.1}, name="label-page", daemon=True
        )
        thread.start()
        try:
            yield thread
        finally:
            self.shutdown()
            thread.join()
            self.server_close()

    def state(self) -> dict[str, Any]:
        """What the page shows now."""
        capture = self.captures.next()
        by_label = {label: key for key, label in keys.of_classes(self.captures.classes).items()}
        return {
            "folder": str(self.captures.folder),
            "classes": [{"label": label, "key": by_label.get(label, "")} for label in self.captures.classes],
            "decided": self.captures.decided,
            "waiting": self.captures.waiting,
            "current": None if capture is None else _describe(capture),
        }


def _describe(capture: Capture) -> dict[str, Any]:
    return {
        "file": capture.name,
        "predicted": capture.predicted,
        "probability": capture.probability,
        "why": capture.why,
    }


class _Handler(BaseHTTPRequestHandler):
    server: LabelPage
    timeout = 30

    def do_GET(self) -> None:
        """The page, its files, its state, and the image that is asked about."""
        if (path := self._path()) is None:
            return
        if path == "state":
            self._answer_state()
        elif path.startswith("image/"):
            self._answer_image(unquote(path.removeprefix("image/")))
        elif path in _FILES:
            name, kind = _FILES[path]
            self._answer(HTTPStatus.OK, resources.files(__package__).joinpath(name).read_bytes(), kind)
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "nothing is here")

    def do_POST(self) -> None:
        """A decision, or the end."""
        length = self.headers.get("Content-Length", "")
        # Read in any case: whoever is refused while it sends may never see the answer.
        body = self.rfile.read(min(int(length), _MAX_READ_BYTES)) if length.isdecimal() else b""
        if (path := self._path()) is None:
            return
        if not length.isdecimal() or int(length) > _MAX_BODY_BYTES:
            self._refuse(HTTPStatus.BAD_REQUEST, f"expected a body of up to {_MAX_BODY_BYTES:,} bytes")
            return
        try:
            request = json.loads(body)
        except ValueError:
            request = None
        if not isinstance(request, dict):
            self._refuse(HTTPStatus.BAD_REQUEST, "expected a JSON object")
        elif path == "quit":
            self._answer_json(HTTPStatus.OK, {})
            threading.Thread(target=self.server.shutdown, daemon=True).start()  # which waits for the loop to end
        elif path in ("label", "discard", "undo"):
            self._decide(path, request)
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "nothing is here")

    def _decide(self, action: str, request: dict[str, Any]) -> None:
        captures = self.server.captures
        with self.server.changing:
            try:
                if action == "undo":
                    captures.undo()
                else:
                    current = captures.next()
                    if current is None or current.name != request.get("file"):  # another tab was faster
                        self._answer_json(HTTPStatus.CONFLICT, self.server.state())
                        return
                    if action == "discard":
                        captures.discard(current)
                    else:
                        captures.label(current, str(request.get("class")))
                state = self.server.state()
            except InvalidInput as error:
                self._refuse(HTTPStatus.BAD_REQUEST, str(error))
                return
        self._answer_json(HTTPStatus.OK, state)

    def _answer_state(self) -> None:
        with self.server.changing:
            try:
                state = self.server.state()
            except InvalidInput as error:
                self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
                return
        self._answer_json(HTTPStatus.OK, state)

    def _answer_image(self, name: str) -> None:
        """Of those that wait only: the name is looked up, never made a path."""
        with self.server.changing:
            found = self.server.captures.find(name)
        kind = image_formats.of_name(name)
        try:
            data = found.path.read_bytes() if found is not None else None
        except OSError:
            data = None
        if data is None or kind is None:
            self._refuse(HTTPStatus.NOT_FOUND, "no such image waits for a label")
            return
        self._answer(HTTPStatus.OK, data, f"image/{kind.title.lower()}")

    def _path(self) -> str | None:
        """What is asked for behind the token; None if the caller is a stranger and was refused."""
        token, slash, path = self.path.removeprefix("/").partition("?")[0].partition("/")
        hosts = {f"{name}:{self.server.server_port}" for name in (_HOST, "localhost")}
        # Other names lead here only where a page elsewhere has bent them to this machine (DNS rebinding).
        if self.headers.get("Host") not in hosts or not secrets.compare_digest(
            token.encode(), self.server.token.encode()
        ):
            self._refuse(HTTPStatus.FORBIDDEN, "open the address that `covey label` has printed")
            return None
        if not slash:
            self._refuse(HTTPStatus.NOT_FOUND, "the address ends with a slash")
            return None
        return path

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        self._answer_json(status, {"error": message})

    def _answer_json(self, status: HTTPStatus, content: dict[str, Any]) -> None:
        self._answer(status, json.dumps(content).encode(), "application/json")

    def _answer(self, status: HTTPStatus, data: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(data))),
            ("Cache-Control", "no-store"),
            ("Content-Security-Policy", _POLICY),
            ("Referrer-Policy", "no-referrer"),
            ("X-Content-Type-Options", "nosniff"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Not on the terminal, where the token would stand."""
