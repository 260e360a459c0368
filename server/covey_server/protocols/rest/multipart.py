"""Takes the files out of a multipart/form-data body (RFC 7578), as curl -F and browsers' forms send it."""

from __future__ import annotations

import re
from email.message import Message as Header

from covey_server.errors import InvalidRequest

MAX_PARTS = 65_536
_MAX_HEAD_BYTES = 8192  # of one part
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")


def files(body: bytes, content_type: str) -> list[bytes]:
    """All files, in order. Raises InvalidRequest for a body that is no such form, or has fields that are no files."""
    marker = b"\r\n--" + _boundary(content_type)
    whole = b"\r\n" + body
    if whole.count(marker) > MAX_PARTS + 1:
        raise InvalidRequest(f"the form has more than {MAX_PARTS:,} parts; send fewer files per request")
    _, *parts = whole.split(marker)  # what stands before the first one means nothing
    if not parts or not parts[-1].startswith(b"--"):
        raise InvalidRequest("the form does not end with its boundary and two dashes: it is not whole")
    return [_file(part, number) for number, part in enumerate(parts[:-1], 1)]


def _boundary(content_type: str) -> bytes:
    header = Header()
    header["Content-Type"] = content_type
    boundary = header.get_param("boundary")
    if not isinstance(boundary, str) or not _BOUNDARY.fullmatch(boundary):
        raise InvalidRequest("Content-Type: multipart/form-data needs a boundary of 1 to 70 characters")
    return boundary.encode("ascii")


def _file(part: bytes, number: int) -> bytes:
    start = part.find(b"\r\n")
    if start < 0 or part[:start].strip(b" \t"):
        raise InvalidRequest(f"part {number} of the form does not begin on a line of its own")
    if part.startswith(b"\r\n\r\n"):
        raise InvalidRequest(f"part {number} of the form has no headers; expected Content-Disposition")
    end = part.find(b"\r\n\r\n", start, start + _MAX_HEAD_BYTES)
    if end < 0:
        raise InvalidRequest(f"the headers of part {number} of the form do not end within {_MAX_HEAD_BYTES:,} bytes")
    head = part[start:end].lower()
    if b"filename" not in head:
        raise InvalidRequest(
            f"part {number} of the form is no file; send files only (curl -F image=@cat.jpg), and settings such as "
            f"top_k in the query"
        )
    return part[end + 4 :]
