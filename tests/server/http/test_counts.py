"""What the metrics count of HTTP."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import WriteModel
from tests.server.conftest import Server, StartServer
from tests.server.http.asking import PIXELS, ask, connected, png, read_answer, send

from covey_server.fronts.http import limits


def test_what_is_refused_before_a_service_sees_it_is_counted(
    start_server: StartServer, tmp_path: Path, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path / "models")
    tokens = tmp_path / "tokens"
    tokens.write_text("good\n")
    server = start_server(
        tmp_path / "models", auth_token_file=str(tokens), max_message_bytes=1 << 20, allowed_host="covey.example"
    )
    post = b"POST /v1/models/echo/classify HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\n"
    for reason, status, request in (
        ("malformed", 400, post + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("malformed", 417, post + b"Expect: miracles\r\nContent-Length: 1\r\n\r\n"),
        ("malformed", 501, post + b"Transfer-Encoding: gzip, chunked\r\n\r\n"),
        ("origin", 403, post + b"Origin: https://evil.example\r\n\r\n"),
        ("host", 421, post.replace(b"Host: a", b"Host: evil.example") + b"\r\n"),
        ("message_size", 413, post + b"Content-Length: 9999999\r\n\r\n"),
        ("media_type", 415, post + b"Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\n"),
        ("header_size", 431, post + b"a: b\r\n" * 101 + b"\r\n"),
        ("token", 401, post.replace(b"good", b"wrong") + b"\r\n"),
    ):
        before = refused(server)
        assert send(server.http_port, request).status == status
        grown = {name: count - before[name] for name, count in refused(server).items() if count != before[name]}
        assert grown == {reason: 1}


def test_a_request_that_comes_too_slowly_is_counted(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODY_S", 0.0)
    before = refused(server)["slow"]
    with connected(server.http_port) as connection:
        connection.sendall(b"POST /v1/models/echo/classify HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1")
        assert read_answer(connection).status == 408
    assert refused(server)["slow"] == before + 1


def test_requests_that_cannot_be_read_are_counted_as_calls(server: Server) -> None:
    """As they are over gRPC."""
    large = b'{"image": "' + b"A" * (9 << 20) + b'"}'
    for path, body, kind, code, reason in (
        ("/v1/models/echo/classify", b"{", "application/json", "INVALID_ARGUMENT", ""),
        ("/v1/models/echo/classify", b"x", "text/html", "UNIMPLEMENTED", ""),
        ("/v1/models/echo/classify", large, "application/json", "INVALID_ARGUMENT", "message_size"),
        ("/v2/models/echo/infer", b"[]", "application/json", "INVALID_ARGUMENT", ""),
        ("/predictions/echo", b"", "image/png", "INVALID_ARGUMENT", ""),
        ("/v1/models/no/classify", png(PIXELS[0]), "image/png", "NOT_FOUND", ""),
    ):
        calls, refusals = counted(server, code), refused(server)
        assert ask(server.http_port, "POST", path, body, {"Content-Type": kind}).status >= 400
        assert counted(server, code) == calls + 1, (path, kind)
        grown = {name for name, count in refused(server).items() if count != refusals[name]}
        assert grown == ({reason} if reason else set())


def test_a_lone_image_that_cannot_be_read_counts_as_answered(server: Server) -> None:
    """As over gRPC, where the answer tells of it."""
    answered = {"model": "echo", "version": "1", "code": "OK", "protocol": "http"}
    unknown = {"model": "echo", "version": "1", "reason": "unknown_format"}

    def counts() -> tuple[float, float]:
        value = server.app.registry.get_sample_value
        return value("covey_requests_total", answered) or 0.0, value("covey_invalid_images_total", unknown) or 0.0

    answers, images = counts()
    assert ask(server.http_port, "POST", "/v1/models/echo/classify", b"no image").status == 422
    assert counts() == (answers + 1, images + 1)


def refused(server: Server) -> dict[str, float]:
    """How many calls were refused, by reason."""
    found = next(each for each in server.app.registry.collect() if each.name == "covey_refused")
    return {sample.labels["reason"]: sample.value for sample in found.samples}


def counted(server: Server, code: str) -> float:
    """How many calls over HTTP were answered so before a model was found."""
    labels = {"code": code, "model": "", "protocol": "http", "version": ""}
    return server.app.registry.get_sample_value("covey_requests_total", labels) or 0.0
