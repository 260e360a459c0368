"""The settings of security together: what contradicts itself, what is warned of, and that no token is ever shown."""

from __future__ import annotations

import contextlib
import logging
import socket
import subprocess
import sys
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from bench.processes import READY, fetch, own_process
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tests.certificates import Authority
from tests.conftest import WriteModel
from tests.fuzz.headers import block as header_block
from tests.fuzz.headers import replaced
from tests.fuzz.headers import usual as usual_headers
from tests.server.conftest import StartServer

from covey_load.wire.frames import END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, frame
from covey_server.config import Config
from covey_server.errors import InvalidConfiguration
from covey_server.fronts.security import Security, is_loopback

SECRETS = ("the-secret-token-of-the-server", "a-wrong-token-of-a-caller")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tls_certificate": "a.pem"}, "--tls-certificate and --tls-key go together: give both, or none"),
        ({"tls_key": "a.key"}, "--tls-certificate and --tls-key go together"),
        ({"tls_client_ca": "ca.pem"}, "--tls-client-ca needs TLS: give --tls-certificate and --tls-key too"),
        ({"tls_certificate": "a.pem", "tls_key": "a.key", "front": "native"}, "--front native has no TLS: use"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidConfiguration, match=message):
        Config(**settings)  # type: ignore[arg-type]


def test_a_missing_file_ends_the_command_with_exit_code_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "covey_server", "--auth-token-file", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "--auth-token-file" in done.stderr
    assert "it cannot be read: No such file or directory" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("127.1.2.3", True), ("0.0.0.0", False), ("::", False),
     ("192.168.1.5", False), ("server.example", False)],
)  # fmt: skip
def test_which_addresses_only_this_machine_reaches(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_tokens_in_the_clear_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tokens = tmp_path / "tokens"
    tokens.touch(mode=0o600)
    tokens.write_text(SECRETS[0])
    pair = Authority(tmp_path / "certificates").sign("127.0.0.1")
    tls = {"tls_certificate": str(pair.certificate), "tls_key": str(pair.key)}
    safe: list[dict[str, str]] = [{}, {"host": "::1"}, {"host": "0.0.0.0", **tls}]
    for settings in safe:
        Security.of(Config(auth_token_file=str(tokens), **settings))  # type: ignore[arg-type]
    assert caplog.text == ""
    Security.of(Config(auth_token_file=str(tokens), host="0.0.0.0"))
    assert "tokens travel in the clear to 0.0.0.0" in caplog.text


def test_management_for_everybody_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    authority = Authority(tmp_path)
    pair = authority.sign("127.0.0.1")
    tls = {"tls_certificate": str(pair.certificate), "tls_key": str(pair.key)}
    Security.of(Config(allow_management=True))
    Security.of(
        Config(allow_management=True, host="0.0.0.0", tls_client_ca=str(authority.certificate), **tls)  # type: ignore[arg-type]
    )
    assert caplog.text == ""
    Security.of(Config(allow_management=True, host="0.0.0.0", **tls))  # type: ignore[arg-type]
    assert "everybody who reaches 0.0.0.0 may load and unload models" in caplog.text


def test_reflection_and_metrics_can_be_kept_away(
    start_server: StartServer, tmp_path: Path, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path)
    server = start_server(tmp_path, reflection=False, metrics_host="127.0.0.2")
    stub = reflection_pb2_grpc.ServerReflectionStub(server.channel)
    question = reflection_pb2.ServerReflectionRequest(list_services="")
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.ServerReflectionInfo(iter([question]), timeout=20))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "covey_ready 1.0" in fetch(f"http://127.0.0.2:{server.app.metrics_port}/metrics")
    with pytest.raises(urllib.error.URLError, match="refused"):
        fetch(f"http://127.0.0.1:{server.app.metrics_port}/metrics")


@pytest.mark.parametrize("front", ["native", "grpcio"])
def test_no_token_is_in_a_log_a_metric_an_error_or_the_process_list(
    front: str, tmp_path: Path, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path / "models")
    tokens, log = tmp_path / "tokens", tmp_path / "log"
    tokens.touch(mode=0o600)
    tokens.write_text(f"# {SECRETS[0]} is a comment\n{SECRETS[0]}\n")
    flags = ["--models", str(tmp_path / "models"), "--auth-token-file", str(tokens)]
    check = subprocess.run(
        [sys.executable, "-m", "covey_server", "--check", "--log-level", "debug", *flags],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    seen = check.stdout + check.stderr
    flags += ["--grpc-port", "0", "--metrics-port", "0", "--log-level", "debug", "--front", front]
    with own_process([sys.executable, "-m", "covey_server", *flags], log) as process:
        assert process.stdout is not None
        ready = READY.match(process.stdout.readline())
        assert ready is not None
        grpc_address, metrics_address = ready["grpc"], ready["metrics"]
        with grpc.insecure_channel(grpc_address) as channel:
            for path in ("/covey.v1.Classifier/Classify", "/inference.GRPCInferenceService/ModelInfer", "/no/Method"):
                call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
                for secret in SECRETS:
                    with pytest.raises(grpc.RpcError) as caught:
                        call(b"\xff", metadata=(("authorization", f"Bearer {secret}"),), timeout=20)
                    seen += f"{caught.value.details()} {caught.value.trailing_metadata()}"
        with call_with_what_is_no_text(grpc_address, f"Bearer {SECRETS[0]}".encode() + b"\xff"):
            while "Invalid encoding on a header's value, which is left out" not in log.read_text():
                assert process.poll() is None
        seen += fetch(f"http://{metrics_address}/metrics")
        seen += Path(f"/proc/{process.pid}/cmdline").read_text() if Path("/proc").exists() else ""
        tokens.write_text(f"{SECRETS[0]} {SECRETS[0]}\n")
        while "the tokens read before stay valid" not in log.read_text():
            assert process.poll() is None
    seen += log.read_text()
    assert ("none that is valid" if front == "native" else "is no token of this server") in seen
    assert [secret for secret in SECRETS if secret in seen] == []


@contextlib.contextmanager
def call_with_what_is_no_text(address: str, header: bytes) -> Iterator[None]:
    """An open call with a header that is no UTF-8, as no library sends it, to what grpcio serves on either front."""
    usual = replaced(usual_headers("Classify"), b":path", b"/grpc.reflection.v1alpha.ServerReflection/None")
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), 20) as connection:
        valid = header.removesuffix(b"\xff")  # the native front passes nothing on without one
        block = header_block((*usual, (b"authorization", valid), (b"x-token", header)))
        connection.sendall(PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, END_HEADERS | END_STREAM, 1, block))
        yield


def test_a_token_is_not_in_the_representation_of_what_holds_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(SECRETS[0])
    config = Config(auth_token_file=str(tokens))
    with caplog.at_level(logging.DEBUG):
        security = Security.of(config)
        assert security.tokens is not None
        principal = security.tokens.identify(f"Bearer {SECRETS[0]}".encode())
        assert isinstance(principal, str)
    assert SECRETS[0] not in f"{config!r} {security!r} {security.tokens!r} {principal} {caplog.text}"
