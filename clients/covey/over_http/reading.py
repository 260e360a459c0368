"""Reads the bodies of answers, up to a size: whoever answers in a server's place may send without end."""

from __future__ import annotations

from http import HTTPStatus

import httpx

from covey.failures import Failure
from covey.over_http.answers import PROTOBUF

MAX_ANSWER_BYTES = 256 << 20  # a server sends up to 64 MiB unless it was started with a larger --max-answer-bytes
MAX_ERROR_BYTES = 64 << 10  # of an error, or of a page that somebody else shows; the rest is not read


async def read_body(response: httpx.Response) -> bytes:
    """The whole message, or the beginning of anything else. Raises Failure for a message above the limit, and for a
    compressed one, which nobody asked for and which could unfold to any size."""
    is_message = response.status_code == HTTPStatus.OK and response.headers.get("content-type", "").startswith(PROTOBUF)
    limit = MAX_ANSWER_BYTES if is_message else MAX_ERROR_BYTES
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    if is_message and coding not in ("", "identity"):
        raise Failure("INTERNAL", f"the answer is compressed ({coding[:40]!r}), which was not asked for")
    announced = response.headers.get("content-length", "")
    if is_message and announced.isdecimal() and int(announced[:20]) > limit:
        raise _too_large(f"{int(announced[:20]):,}")
    pieces, size = [], 0
    async for piece in response.aiter_raw():
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            if is_message:
                raise _too_large(f"more than {limit:,}")
            break
    return b"".join(pieces)[:limit]


def _too_large(count: str) -> Failure:
    return Failure(
        "INTERNAL",
        f"the answer has {count} bytes, at most {MAX_ANSWER_BYTES:,} are read over HTTP; send fewer images per call, "
        f"ask for fewer classes, or use gRPC",
    )
