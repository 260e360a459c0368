"""Through a real server, on both fronts: deadlines, overload, floods, and what health says."""

from __future__ import annotations

import contextlib
import http.client
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
from bench.processes import fetch
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.conftest import WriteModel
from tests.server.conftest import Server, StartServer

from covey_proto.v1 import classifier_pb2 as pb

RNG = np.random.default_rng(5)


def test_a_deadline_that_passes_is_told_and_the_caller_who_left_strands_nobody(server: Server) -> None:
    request = pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(16 * 20_000)))
    with pytest.raises(grpc.RpcError) as caught:
        server.classify(request, timeout_s=0.001)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert len(server.classify(pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(16)))).results) == 1


def test_the_servers_own_deadline_holds_for_callers_who_bring_none(
    tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path)
    server = start_server(tmp_path, default_deadline_ms=500, max_batch_size=1, inline_us=0)
    with pytest.raises(grpc.RpcError) as caught:  # in batches of one they take seconds
        server.classify(pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(16 * 400_000))), timeout_s=None)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "computing 400,000 image(s) takes about" in (caught.value.details() or "")


@pytest.mark.parametrize("character", ["x", "\u6f22"])
def test_a_long_name_is_answered_with_a_short_message(server: Server, character: str) -> None:
    code, message = server.error(pb.ClassifyRequest(model=character * 100_000))
    assert code is grpc.StatusCode.NOT_FOUND
    assert message == f"model {character * 100!r} is not served here; these are: colour, echo"


def test_what_is_too_much_at_once_is_told_so(
    tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path)
    server = start_server(tmp_path, max_calls=1, max_batch_size=1)
    request = pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(16 * 10_000)))
    with ThreadPoolExecutor(8) as callers:
        outcomes = list(callers.map(lambda _: outcome_of(server, request), range(8)))
    assert {code for code, _ in outcomes} == {"OK", "RESOURCE_EXHAUSTED"}
    hints = [int(hint) for code, hint in outcomes if code == "RESOURCE_EXHAUSTED"]
    assert all(1 <= hint < 60_000 for hint in hints)
    assert max(hints) > 1, "when what waits should be done"
    counted = r'^covey_requests_total\{code="RESOURCE_EXHAUSTED",.*\} (\S+)$'
    assert sum(map(float, re.findall(counted, fetch(server.metrics_url), re.MULTILINE))) == len(hints)
    assert f'covey_refused_total{{reason="calls"}} {float(len(hints))}' in fetch(server.metrics_url)


def test_a_connection_that_floods_leaves_room_for_others(
    tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path)
    server = start_server(tmp_path, max_calls=8, max_batch_size=1, inline_us=0)
    large = pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(16 * 5_000)), top_k=1).SerializeToString()
    flood: grpc.UnaryUnaryMultiCallable[bytes, bytes] = server.channel.unary_unary("/covey.v1.Classifier/Classify")
    calls = [flood.future(large, timeout=60) for _ in range(16)]
    while "covey_calls_in_flight 5.0" not in fetch(server.metrics_url):
        assert not all(call.done() for call in calls)
        time.sleep(0.005)
    with grpc.insecure_channel(server.target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        quiet: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/covey.v1.Classifier/Classify")
        quiet(pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(16))).SerializeToString(), timeout=60)
    errors = [error for call in calls if isinstance(error := call.exception(), grpc.RpcError)]
    assert 1 <= len(errors) <= 11
    assert all("of this connection are waiting already" in (error.details() or "") for error in errors)


def outcome_of(server: Server, request: pb.ClassifyRequest) -> tuple[str, str]:
    """The status code, and when to try again."""
    try:
        server.classify(request, timeout_s=60)
    except grpc.RpcError as error:
        metadata = {each.key: str(each.value) for each in error.trailing_metadata() or ()}
        return str(error.code().name), metadata.get("retry-after-ms", "")
    return "OK", ""


def test_the_standard_health_client_sees_serving(server: Server) -> None:
    health = health_pb2_grpc.HealthStub(server.channel)
    for name in ("", "covey.v1.Classifier"):
        answer = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=20)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    watch = health.Watch(health_pb2.HealthCheckRequest(service=""))
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    server.app.front.set_ready(False)
    assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
    server.app.front.set_ready(True)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()


def test_probes_by_http_are_told_what_is_so_and_a_mistyped_path_is_told_too(server: Server) -> None:
    def status_of(path: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", server.app.metrics_port, timeout=20)
        with contextlib.closing(connection):
            connection.request("GET", path)
            return connection.getresponse().status

    assert [status_of(path) for path in ("/metrics", "/healthz", "/readyz", "/health")] == [200, 200, 200, 404]
    server.app._on_stuck(True)
    assert [status_of(path) for path in ("/metrics", "/healthz", "/readyz")] == [200, 503, 503]
    server.app._on_stuck(False)
    assert [status_of(path) for path in ("/healthz", "/readyz")] == [200, 200]


def test_alive_is_not_the_same_as_ready(server: Server) -> None:
    health = health_pb2_grpc.HealthStub(server.channel)

    def states() -> list[int]:
        names = ("", "covey.v1.Classifier", "live")
        return [health.Check(health_pb2.HealthCheckRequest(service=name), timeout=20).status for name in names]

    serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    assert states() == [serving, serving, serving]
    server.app.front.set_ready(False)
    assert states() == [not_serving, not_serving, serving]
    server.app.front.set_ready(True)
    server.app.front.set_live(False)
    assert states() == [serving, serving, not_serving]
    server.app.front.set_live(True)
