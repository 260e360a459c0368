"""Keeps callers' headers, which may be tokens, out of the logs of libraries."""

from __future__ import annotations

import logging

_GRPCIO = "grpc._cython.cygrpc"
_QUOTES_A_HEADER = "Invalid encoding on"  # of a header that is no UTF-8


def leave_out_headers() -> None:
    """For the whole process, once."""
    logging.getLogger(_GRPCIO).addFilter(_without_header)


def _without_header(record: logging.LogRecord) -> bool:
    if str(record.msg).startswith(_QUOTES_A_HEADER):
        record.msg, record.args, record.exc_info = f"{_QUOTES_A_HEADER} a header's value, which is left out", (), None
    return True
