"""A failed call that gRPC itself did not make, in the form that gRPC gives its own: so the session treats all alike."""

from __future__ import annotations

from typing import Any

import grpc

from covey.errors import RETRY_AFTER


class Failure(grpc.RpcError):
    """`status` is the name of a gRPC status code."""

    def __init__(self, status: str, details: str, retry_after_ms: int | None = None) -> None:
        super().__init__(details)
        self._status = status
        self._details = details
        self._retry_after_ms = retry_after_ms

    def code(self) -> grpc.StatusCode:
        return getattr(grpc.StatusCode, self._status, grpc.StatusCode.UNKNOWN)

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> Any:  # noqa: ANN401 - as grpc has it
        return ((RETRY_AFTER, str(self._retry_after_ms)),) if self._retry_after_ms else ()

    @property
    def retry_after_ms(self) -> int | None:
        """The server's hint."""
        return self._retry_after_ms
