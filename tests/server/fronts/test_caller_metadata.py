"""What a protocol can know of a caller on each front: its metadata, and who it is."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from tests.certificates import Authority

from covey_server.calls.call import Call
from covey_server.calls.service import Element, Service, Services, StreamMethod
from covey_server.calls.status import Status
from covey_server.fronts.grpcio import GrpcioFront
from covey_server.fronts.native import NativeFront
from covey_server.fronts.security import Security
from covey_server.fronts.security.certificates import Certificates
from covey_server.fronts.security.tokens import Tokens

FRONTS: dict[str, Callable[..., Any]] = {"native": NativeFront, "grpcio": GrpcioFront}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TOKEN = "token-of-the-web-shop-0123456789"
HEADERS = (("traceparent", TRACE), ("x-request-id", "r-1"), ("x-request-id", "r-2"), ("extra-bin", b"\0\xff"))
Ask = Callable[[str, tuple[tuple[str, str | bytes], ...]], dict[str, Any]]


class Plain(Element):
    """A message that is the call's payload."""

    def open(self, message: bytes) -> bytes:
        return message

    def reply(self, payload: bytes) -> bytes:
        return payload

    def fail(self, status: Status) -> bytes:
        return status.message.encode()


def tell(call: Call) -> None:
    """Answers with what it can know of the caller."""
    told = {
        "traceparent": call.header("traceparent"),
        "request": call.header("x-request-id"),
        "binary as text": call.header("extra-bin"),
        "missing": call.header("x-missing"),
        "binary": [value.hex() for key, value in call.metadata if key == "extra-bin" and isinstance(value, bytes)],
        "principal": call.principal,
    }
    call.reply(json.dumps(told).encode())


@contextlib.contextmanager
def running(front: str, security: Security, credentials: grpc.ChannelCredentials | None = None) -> Iterator[Ask]:
    """Asks a front of one service, by a call of its own ("Tell") or by a stream ("TellStream")."""
    service = Service("test.Callers", {"Tell": tell}, {"TellStream": StreamMethod(tell, Plain)})
    services = Services((service,), begin=lambda inline: None, written=lambda count, caller: None)
    serving = FRONTS[front]("127.0.0.1:0", services, 2**20, 2**20, security)
    serving.start()
    target = f"localhost:{serving.port}"
    channel = grpc.insecure_channel(target) if credentials is None else grpc.secure_channel(target, credentials)

    def ask(method: str, metadata: tuple[tuple[str, str | bytes], ...]) -> dict[str, Any]:
        path = f"/test.Callers/{method}"
        if method == "Tell":
            unary: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
            return dict(json.loads(unary(b"", metadata=metadata, timeout=20)))
        stream: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(path)
        (answer,) = stream(iter([b"x"]), metadata=metadata, timeout=20)
        return dict(json.loads(answer))

    try:
        yield ask
    finally:
        channel.close()
        serving.stop(0)


@pytest.mark.parametrize("method", ["Tell", "TellStream"])
@pytest.mark.parametrize("front", FRONTS)
def test_a_protocol_can_read_what_the_caller_sent(front: str, method: str) -> None:
    with running(front, Security()) as ask:
        assert ask(method, HEADERS) == {
            "traceparent": TRACE,
            "request": "r-1",
            "binary as text": "",
            "missing": "",
            "binary": ["00ff"],
            "principal": "",
        }
        assert ask(method, ())["traceparent"] == ""


@pytest.mark.parametrize("method", ["Tell", "TellStream"])
@pytest.mark.parametrize("front", FRONTS)
def test_a_principal_is_the_token_s_digest_and_never_the_token(front: str, method: str, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"another-token-0123456789\n{TOKEN}\n")
    file.chmod(0o600)
    with running(front, Security(tokens=Tokens(file))) as ask:
        told = ask(method, (("authorization", f"Bearer {TOKEN}"),))
        other = ask(method, (("authorization", "bearer another-token-0123456789"),))
        with pytest.raises(grpc.RpcError, match=r"no token of this server|none that is valid"):
            ask(method, (("authorization", "Bearer wrong"),))
    assert told["principal"] == f"token:{hashlib.sha256(TOKEN.encode()).hexdigest()[:12]}"
    assert other["principal"] == f"token:{hashlib.sha256(b'another-token-0123456789').hexdigest()[:12]}"


@pytest.mark.parametrize("method", ["Tell", "TellStream"])
def test_a_principal_is_the_subject_of_the_caller_s_certificate(method: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.sign("localhost")
    own, own_key = authority.sign("caller-7", file="caller")
    authorities = authority.certificate.read_bytes()
    with running(
        "grpcio",
        Security(certificates=Certificates(certificate, key, authority.certificate)),
        grpc.ssl_channel_credentials(authorities, own_key.read_bytes(), own.read_bytes()),
    ) as ask:
        subject = x509.load_pem_x509_certificate(own.read_bytes()).subject.rfc4514_string()
        assert ask(method, ())["principal"] == f"certificate:{subject}"
    with running(
        "grpcio", Security(certificates=Certificates(certificate, key)), grpc.ssl_channel_credentials(authorities)
    ) as ask:
        assert ask(method, ())["principal"] == "", "the server asks callers for nothing"
