"""What streams may hold, alone and together, how many there may be, and what becomes of those that stall."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.conftest import WriteModel
from tests.server.conftest import Server, StartServer
from tests.server.fronts.stream_calls import (
    STREAM,
    Held,
    ask_all,
    best,
    element,
    expect_end_of_what_stalled,
    metric,
    refusals,
    responses,
    stream,
)  # fmt: skip
from tests.waiting import wait_until

from covey_proto.v1 import classifier_pb2 as pb
from covey_server.fronts import stream as fronts_stream
from covey_server.fronts import streams


@pytest.fixture
def busy(tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel) -> Server:
    """A server for one call, whose streams may hold 40 kB."""
    write_echo_model(tmp_path)
    return start_server(tmp_path, max_calls=1, max_batch_size=1, max_bytes=80_000)


def occupy(server: Server) -> Any:  # noqa: ANN401 - the stubs do not name it
    pixels = pb.Pixels(data=bytes(4_000_000))
    classify: grpc.UnaryUnaryMultiCallable[bytes, bytes] = server.channel.unary_unary("/covey.v1.Classifier/Classify")
    call = classify.future(pb.ClassifyRequest(model="echo", pixels=pixels).SerializeToString(), timeout=60)
    wait_until(lambda: metric(server, "covey_calls_in_flight"))
    return call


LARGE = element("large", 1_250, mark=4)  # 20 kB


def wait_until_held(server: Server, count: int) -> None:
    """So many large requests."""
    wait_until(lambda: metric(server, "covey_stream_bytes") >= count * len(LARGE))


def test_where_streams_hold_all_they_may_no_other_is_read(busy: Server) -> None:
    occupying = occupy(busy)
    held = [Held() for _ in range(3)]
    calls = []
    for number, each in enumerate(held):
        calls.append(stream(busy, iter(each)))
        each.send(LARGE)
        wait_until_held(busy, min(number + 1, 2))
    wait_until(lambda: metric(busy, "covey_streams_open") >= 3)
    for _ in range(10):
        assert metric(busy, "covey_stream_bytes") == 2 * len(LARGE)
    occupying.cancel()
    for each, call in zip(held, calls, strict=True):
        assert best(next(responses(call))) == [4] * 1_250
        each.end()
        assert list(call) == []
    assert refusals(busy) == 0, "who waits for room is not refused"
    assert metric(busy, "covey_stream_bytes") == 0


def test_what_comes_beyond_all_that_may_wait_is_refused(busy: Server) -> None:
    held = [Held() for _ in range(5)]
    calls = [responses(stream(busy, iter(each))) for each in held]
    for each, call in zip(held, calls, strict=True):
        each.send(element("opens"))
        next(call)
    occupying = occupy(busy)
    for number, each in enumerate(held[:4], 1):
        each.send(LARGE)
        wait_until_held(busy, number)
    held[4].send(LARGE)
    refused = next(calls[4])
    assert (refused.id, refused.error.code) == ("large", "RESOURCE_EXHAUSTED")
    assert refusals(busy) == 2, "one, told by two metrics"
    occupying.cancel()
    for call in calls[:4]:
        assert best(next(call)) == [4] * 1_250
    held[4].send(LARGE)
    assert best(next(calls[4])) == [4] * 1_250
    for each in held:
        each.end()


def test_only_so_many_streams_are_opened(
    tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MAX_STREAMS", 2)
    write_echo_model(tmp_path)
    server = start_server(tmp_path)
    held = [Held() for _ in range(2)]
    calls = [responses(stream(server, iter(each))) for each in held]
    for each, call in zip(held, calls, strict=True):
        each.send(element("first"))
        next(call)
    with pytest.raises(grpc.RpcError, match="2 streams are open already, as many as are let in") as caught:
        next(stream(server, iter([element("third")])))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    held[0].end()
    assert list(calls[0]) == []
    wait_until(lambda: metric(server, "covey_streams_open") <= 1)
    assert best(ask_all(server, [element("third", mark=3)])["third"]) == [3]
    held[1].end()


def test_a_stream_whose_first_answer_is_not_taken_is_ended(
    tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fronts_stream, "MAX_STALL_S", 1.0)
    write_echo_model(tmp_path)
    server = start_server(tmp_path)
    options = [("grpc.http2.bdp_probe", 0), ("grpc.max_receive_message_length", -1)]  # else it takes megabytes unread
    with grpc.insecure_channel(server.target, options) as channel:
        method: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(STREAM)
        call: Any = method(iter([element("many", 50_000)]), timeout=60)
        wait_until(lambda: metric(server, "covey_stream_bytes"))
        expect_end_of_what_stalled(server, call)
