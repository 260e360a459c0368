"""Takes the files out of a multipart/form-data body (RFC 7578), as curl -F and browsers' forms send it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from covey_server.errors import InvalidRequest
from covey_server.system.threads import with_pauses

MAX_FILES = 4_096  # of one request
_MAX_HEAD_BYTES = 8192  # of one part
_MAX_TYPE_CHARACTERS = 1024
_PLAIN = r"0-9A-Za-z'()+_,./:=?\-"
_BOUNDARY = re.compile(  # some clients leave the quotes away where they are demanded
    rf';\s*boundary=(?:"([{_PLAIN} ]{{0,69}}[{_PLAIN}])"|([{_PLAIN}]{{1,70}}))\s*(?:;|$)', re.IGNORECASE
)


def files(body: bytes, content_type: str) -> list[bytes]:
    """All files, in order. Raises InvalidRequest for a body that is no such form, or has fields that are no files."""
    return list(with_pauses(_files(body, content_type)))


def _files(body: bytes, content_type: str) -> Iterator[bytes]:
    delimiter = b"--" + _boundary(content_type)
    marker = b"\r\n" + delimiter
    # What stands before the first part means nothing.
    start = 0 if body.startswith(delimiter) else body.find(marker) + len(b"\r\n")
    number = 1
    while start != 1:  # 1: nothing was found
        start += len(delimiter)
        if body.startswith(b"--", start):
            return
        if number > MAX_FILES:
            raise InvalidRequest(f"the form has more than {MAX_FILES:,} parts; send fewer files per request")
        stop = body.find(marker, start)
        if stop < 0:
            break
        yield _file(body, start, stop, number)
        number += 1
        start = stop + len(b"\r\n")
    raise InvalidRequest("the form does not end with its boundary and two dashes: it is not whole")


def _boundary(content_type: str) -> bytes:
    found = _BOUNDARY.search(content_type) if len(content_type) <= _MAX_TYPE_CHARACTERS else None
    if found is None:
        raise InvalidRequest("Content-Type: multipart/form-data needs a boundary of 1 to 70 characters")
    return (found[1] or found[2]).encode("ascii")


def _file(body: bytes, start: int, stop: int, number: int) -> bytes:
    """The content of the part between these places."""
    line_end = body.find(b"\r\n", start, min(stop + 2, start + _MAX_HEAD_BYTES))
    if line_end < 0 or body[start:line_end].strip(b" \t"):
        raise InvalidRequest(f"part {number} of the form does not begin on a line of its own")
    end = body.find(b"\r\n\r\n", line_end, min(stop + 2, start + _MAX_HEAD_BYTES))
    if end < 0:
        raise InvalidRequest(f"the headers of part {number} of the form do not end within {_MAX_HEAD_BYTES:,} bytes")
    if b"filename" not in body[start:end].lower():
        raise InvalidRequest(
            f"part {number} of the form is no file; send files only (curl -F image=@cat.jpg), and settings such as "
            f"top_k in the query"
        )
    return bytes(body[end + 4 : stop])
