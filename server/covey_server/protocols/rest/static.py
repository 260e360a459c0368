"""Web pages: the files of a folder, read when the server starts and served from memory.

Only files that were there then have a route, so no path of a request is ever looked up on disk.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path

from covey_server.calls.http import HttpCall, Route, for_http

PAGES = Path(__file__).parents[2] / "page"  # covey_server/page, which is in the wheel
_INDEX = "index.html"
_TYPES = {
    ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg", ".ico": "image/x-icon",
}  # fmt: skip
# Pages may use what this server sends and nothing else: no inline scripts or styles, no other hosts, no frames.
# Images may also be files that the visitor chose (blob:) or that a script made (data:).
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class _File:
    content: bytes
    content_type: str
    etag: str


def static_routes(folder: Path, page: str, files: str) -> tuple[Route, ...]:
    """Routes of the files in `folder` (not of folders in it): index.html at the path `page`, the others at
    `files`/NAME. They need no token, since browsers send none when a page is opened. Raises KeyError for a kind of file
    that is not known here."""
    return tuple(
        Route(
            ("GET",),
            page if path.name == _INDEX else f"{files}/{path.name}",
            for_http(partial(_answer, _read(path))),
            is_open=True,
        )
        for path in sorted(folder.iterdir())
        if path.is_file()
    )


def _read(path: Path) -> _File:
    content = path.read_bytes()
    return _File(content, _TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')


def _answer(file: _File, call: HttpCall) -> None:
    call.answer_headers = (
        ("Cache-Control", "no-cache"),  # kept, but asked for again: the next version of the server has other files
        ("ETag", file.etag),
        ("Content-Security-Policy", _POLICY),
        ("Referrer-Policy", "no-referrer"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
    )
    if _is_known(call.header("if-none-match"), file.etag):
        call.answer_status, call.answer_type = HTTPStatus.NOT_MODIFIED, ""
        call.reply(b"")
        return
    call.answer_type = file.content_type
    call.reply(file.content)


def _is_known(if_none_match: str, etag: str) -> bool:
    """Whether the caller has the file already (RFC 9110, 13.1.2)."""
    given = (each.strip().removeprefix("W/") for each in if_none_match.split(","))
    return any(each in ("*", etag) for each in given)
