"""The server's certificates: which are refused at the start, and how a running server takes up renewed ones."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from tests.certificates import EXPIRED, Authority, Pair
from tests.conftest import WriteModel
from tests.server.conftest import running_servers

from covey_proto.v1 import classifier_pb2 as pb
from covey_server.app import App
from covey_server.config import Config
from covey_server.errors import InvalidConfiguration
from covey_server.fronts.security.certificates import Certificates

HOST = "127.0.0.1"
LATER = datetime(2120, 1, 1, tzinfo=UTC)
SOONER = datetime(2110, 1, 1, tzinfo=UTC)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "certificates")


def test_a_good_pair_is_used_as_it_is(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    pair = authority.sign(HOST, expires=LATER)
    identity = Certificates(*pair, authority.certificate).identity
    assert identity.certificate == pair.certificate.read_bytes()
    assert identity.key == pair.key.read_bytes()
    assert identity.client_ca == authority.certificate.read_bytes()
    assert identity.expires_s == LATER.timestamp()
    assert caplog.text == ""


def _without(path: Path) -> Path:
    path.unlink()
    return path


def _holding(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def _encrypted(path: Path) -> Path:
    command = ["openssl", "pkcs8", "-topk8", "-passout", "pass:word", "-in", str(path), "-out", f"{path}.encrypted"]
    subprocess.run(command, check=True, capture_output=True)
    return Path(f"{path}.encrypted")


BROKEN = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
Change = Callable[[Authority, Pair], tuple[Path, ...]]
CASES: dict[str, tuple[Change, str]] = {
    "no certificate": (
        lambda authority, pair: (_without(pair.certificate), pair.key),
        r"--tls-certificate .*server\.pem: it cannot be read: No such file",
    ),
    "no key": (lambda authority, pair: (pair.certificate, _without(pair.key)), r"--tls-key .*it cannot be read"),
    "a folder": (
        lambda authority, pair: (pair.certificate.parent, pair.key),
        r"it cannot be read: it is a folder, expected a regular file",
    ),
    "no PEM": (
        lambda authority, pair: (_holding(pair.certificate, "text"), pair.key),
        "--tls-certificate .*: it holds no CERTIFICATE in PEM form",
    ),
    "the two confused": (lambda authority, pair: (pair.key, pair.certificate), "it holds no CERTIFICATE in PEM form"),
    "a broken certificate": (
        lambda authority, pair: (_holding(pair.certificate, BROKEN), pair.key),
        "--tls-certificate .* and --tls-key .*: they cannot be used",
    ),
    "another's key": (
        lambda authority, pair: (pair.certificate, authority.sign(HOST, file="other").key),
        r"--tls-key .*other\.key: it is not the key of the certificate .*server\.pem",
    ),
    "an encrypted key": (
        lambda authority, pair: (pair.certificate, _encrypted(pair.key)),
        "it is encrypted; expected one without a password",
    ),
    "expired": (
        lambda authority, pair: authority.sign(HOST, expires=EXPIRED),
        r"it is valid from 2019-01-01 00:00 UTC to 2020-01-01 00:00 UTC, not now \(.*\); renew it",
    ),
    "no authority": (
        lambda authority, pair: (*pair, _holding(authority.certificate, "text")),
        "--tls-client-ca .*: it holds no CERTIFICATE in PEM form",
    ),
    "a broken authority": (
        lambda authority, pair: (*pair, _holding(authority.certificate, BROKEN)),
        "--tls-client-ca .*: its certificates cannot be read",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_used_is_refused_with_the_reason(authority: Authority, case: str) -> None:
    change, message = CASES[case]
    files = change(authority, authority.sign(HOST))
    with pytest.raises(InvalidConfiguration, match=message) as caught:
        Certificates(*files)
    assert "PRIVATE KEY" not in str(caught.value)


def test_a_key_that_everybody_may_read_is_warned_of(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    pair = authority.sign(HOST)
    pair.key.chmod(0o644)
    Certificates(*pair)
    assert "--tls-key" in caplog.text
    assert "chmod 600" in caplog.text


def test_renewed_files_are_taken_up_once_they_rest_and_bad_ones_are_not(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    certificates = Certificates(*authority.sign(HOST))
    first = certificates.identity
    authority.sign(HOST, expires=LATER)
    certificates.refresh()
    assert certificates.identity is first
    certificates.refresh()
    assert certificates.identity.expires_s == LATER.timestamp()
    renewed = certificates.identity
    authority.sign(HOST, expires=EXPIRED)
    for _ in range(3):
        certificates.refresh()
    assert certificates.identity is renewed
    (said,) = [each.getMessage() for each in caplog.records]
    assert said.endswith("new connections get the certificate that was read before")


def test_a_key_that_everybody_may_read_from_now_on_is_warned_of_and_nothing_is_renewed(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    pair = authority.sign(HOST)
    certificates = Certificates(*pair)
    first = certificates.identity
    with caplog.at_level(logging.INFO):
        pair.key.chmod(0o644)
        certificates.refresh()
        certificates.refresh()
    assert certificates.identity is first
    (said,) = [each.getMessage() for each in caplog.records]
    assert said.startswith("--tls-key ")
    assert said.endswith("chmod 600")


def test_a_server_with_a_bad_certificate_does_not_start(
    tmp_path: Path, authority: Authority, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path / "models")
    certificate, key = map(str, authority.sign(HOST, expires=EXPIRED))
    config = Config(models=tmp_path / "models", grpc_port=0, metrics_port=0, tls_certificate=certificate, tls_key=key)
    with pytest.raises(InvalidConfiguration, match="renew it"):
        App(config)


def test_new_connections_get_the_renewed_certificate_and_old_ones_go_on(
    tmp_path: Path, authority: Authority, write_echo_model: WriteModel
) -> None:
    """Told apart by the name that the certificate is for."""
    write_echo_model(tmp_path / "models")
    certificate, key = map(str, authority.sign("before.test", expires=LATER))
    with running_servers("auto") as start:
        server = start(tmp_path / "models", tls_certificate=certificate, tls_key=key)
        assert server.app.front.name == "grpcio"

        def connect(name: str) -> grpc.UnaryUnaryMultiCallable[bytes, bytes]:
            """A call on a connection of its own that wants a certificate for this name."""
            credentials = grpc.ssl_channel_credentials(authority.certificate.read_bytes())
            options = [("grpc.ssl_target_name_override", name), ("grpc.use_local_subchannel_pool", 1)]
            return grpc.secure_channel(server.target, credentials, options).unary_unary("/covey.v1.Classifier/Classify")

        def expires_s() -> float | None:
            return server.app.registry.get_sample_value("covey_certificate_expiry_timestamp_seconds")

        assert expires_s() == LATER.timestamp()
        request = pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(16))).SerializeToString()
        old = connect("before.test")
        assert pb.ClassifyResponse.FromString(old(request, timeout=20)).model == "echo"
        with pytest.raises(grpc.RpcError, match="Hostname Verification Check failed"):
            connect("after.test")(request, timeout=20)
        authority.sign("after.test", expires=SOONER)
        while True:  # a look a second; the test's own time limit ends it
            try:
                answer = connect("after.test")(request, timeout=20)
                break
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
        assert pb.ClassifyResponse.FromString(answer).model == "echo"
        assert pb.ClassifyResponse.FromString(old(request, timeout=20)).model == "echo"
        with pytest.raises(grpc.RpcError, match="Hostname Verification Check failed"):
            connect("before.test")(request, timeout=20)
        assert expires_s() == SOONER.timestamp()
