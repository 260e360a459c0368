"""What honest callers get through the edge: SDK, tritonclient, streams, health, reflection; certificates, tokens."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import grpc
import numpy as np
import pytest
from bench.processes import fetch
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tests.certificates import EXPIRED
from tests.edge.conftest import HOST, Guarded, StartEdge, figure
from tests.waiting import wait_until

import covey
from covey_proto.v1 import classifier_pb2 as pb

ROOT = Path(__file__).parents[2]
CLASSIFY = "/covey.v1.Classifier/Classify"
PIXELS = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)
ONE = pb.ClassifyRequest(pixels=pb.Pixels(data=PIXELS.tobytes())).SerializeToString()
LATER = datetime(2120, 1, 1, tzinfo=UTC)
# Compressed messages are refused: test_attacks.
CHECKS = set(
    re.findall(r"^def check_(\w+)\(", (ROOT / "tests/server/protocols/triton_calls.py").read_text(), re.MULTILINE)
)
CHECKS -= {"compression_and_timeouts"}
TOKEN, NEXT_TOKEN = "first-token-0123456789abcdef", "second.Token~0123456789abcdef=="


def test_the_sdk_classifies_and_streams(guarded: Guarded) -> None:
    with guarded.client() as client:
        assert client.classify(PIXELS).label == "class 9"
        assert len(client.classify(np.tile(PIXELS, (100_000, 1, 1, 1)), top_k=1)) == 100_000  # 1.6 MB
        answers = dict(client.classify_stream((place, PIXELS) for place in range(500)))
        assert {each.label for each in answers.values()} == {"class 9"}
        assert len(answers) == 500
        assert [each.name for each in client.models() if each.name == "echo"] == ["echo"]


@pytest.mark.parametrize("check", sorted(CHECKS))
def test_tritonclient_gets_what_it_asks_for(guarded: Guarded, check: str) -> None:
    command = [sys.executable, "-m", "tests.edge.triton_over_tls", check, guarded.edge.target]
    command += [str(guarded.authority.certificate)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "all as expected\n"), done.stderr


def test_health_and_reflection(guarded: Guarded) -> None:
    with guarded.channel() as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest()
        assert stub.Check(request, timeout=20).status == health_pb2.HealthCheckResponse.SERVING
        watch = stub.Watch(request, timeout=20)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()
        assert "covey.v1.Classifier" in ProtoReflectionDescriptorDatabase(channel).get_services()
    fetch(guarded.edge.readiness_url)  # an error where the server is not ready


def test_callers_need_a_certificate_where_an_authority_is_set(start_edge: StartEdge, tmp_path: Path) -> None:
    guarded = start_edge({"COVEY_EDGE_CLIENT_CA": str(tmp_path / "certificates" / "authority.pem")})
    pair = guarded.authority.sign("caller", file="caller")
    with guarded.client(tls=covey.TLS(guarded.authority.certificate, *pair)) as client:
        assert client.classify(PIXELS).label == "class 9"
    with (
        guarded.client() as client,
        pytest.raises(covey.Unauthenticated, match="callers need a certificate that this server's authority has"),
    ):
        client.classify(PIXELS)
    wait_until(lambda: guarded.refused("certificate") == 1)


def test_tokens_are_looked_at_before_the_message_is_read(start_edge: StartEdge, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"# of the first team\n{TOKEN}\n")
    guarded = start_edge({"COVEY_EDGE_TOKEN_FILE": str(file)})
    with guarded.client(token=TOKEN) as client:
        assert client.classify(PIXELS).label == "class 9"
    for token in ("", NEXT_TOKEN, TOKEN[:-1]):
        with guarded.client(token=token) as client, pytest.raises(covey.Unauthenticated, match="Bearer TOKEN"):
            client.classify(PIXELS)
    with guarded.channel() as channel:  # health is open
        assert health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20).status == 1
        with pytest.raises(grpc.RpcError, match="UNAUTHENTICATED"):
            ProtoReflectionDescriptorDatabase(channel).get_services()
    wait_until(lambda: guarded.refused("token") == 4)
    file.write_text(f"{NEXT_TOKEN}\n")

    def answers(token: str) -> bool:
        with guarded.client(token=token) as client:
            try:
                client.classify(PIXELS)
            except covey.Unauthenticated:
                return False
            return True

    wait_until(lambda: answers(NEXT_TOKEN))
    wait_until(lambda: not answers(TOKEN))
    log = (guarded.folder / "edge.log").read_text()
    assert not any(token in log for token in (TOKEN, NEXT_TOKEN))


def test_a_renewed_certificate_is_taken_up_and_a_bad_one_is_not(start_edge: StartEdge) -> None:
    guarded = start_edge()

    def expires_s() -> float:
        assert guarded.edge.metrics_url is not None
        return figure(fetch(guarded.edge.metrics_url), "covey_certificate_expiry_timestamp_seconds")

    assert expires_s() > LATER.timestamp()
    with guarded.channel() as old:
        ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = old.unary_unary(CLASSIFY)
        assert ask(ONE, timeout=20)
        guarded.authority.sign(HOST, expires=LATER)
        wait_until(lambda: expires_s() == LATER.timestamp())
        assert ask(ONE, timeout=20)
    guarded.authority.sign(HOST, expires=EXPIRED)
    log = guarded.folder / "edge.log"
    wait_until(lambda: "it expired on 2020-01-01 00:00 UTC; renew it; what was" in log.read_text())
    assert expires_s() == LATER.timestamp()
    with guarded.client() as client:
        assert client.classify(PIXELS).label == "class 9"
