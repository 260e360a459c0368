"""ClassifyStream against a running server, on both fronts: ids, errors, back-pressure, cancellation, draining."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.conftest import WriteModel
from tests.server.conftest import Server, StartServer
from tests.server.fronts.stream_calls import (
    Held,
    ask_all,
    best,
    element,
    expect_end_of_what_stalled,
    metric,
    refusals,
    responses,
    stream,
)
from tests.waiting import wait_until

from covey_proto.v1 import classifier_pb2 as pb
from covey_server.app import App
from covey_server.calls.service import Services, StreamMethod
from covey_server.config import Config
from covey_server.fronts import stream as fronts_stream
from covey_server.fronts.streams import Streams
from covey_server.protocols.classifier.stream_messages import ClassifyElement


def test_every_request_gets_its_own_answer(server: Server) -> None:
    answers = ask_all(server, [element(f"id {n}", n % 7 + 1, n) for n in range(500)])
    for n in range(500):
        answer = answers[f"id {n}"]
        assert best(answer) == [n % 10] * (n % 7 + 1)
        assert (answer.response.model, answer.response.version) == ("echo", 1)
        timing = answer.response.timing
        assert timing.total_us == timing.decode_us + timing.queue_us + timing.compute_us


def test_answers_come_as_they_are_ready(server: Server) -> None:
    colour = pb.ClassifyRequest(model="colour", pixels=pb.Pixels(data=bytes(18)))
    quick = pb.ClassifyStreamRequest(id="quick", request=colour).SerializeToString()
    found = list(responses(stream(server, iter([element("long", 20_000), quick]))))
    assert [answer.id for answer in found] == ["quick", "long"]


def test_an_answer_does_not_wait_for_the_next_request(server: Server) -> None:
    held = Held()
    answers = responses(stream(server, iter(held)))
    for n in range(5):
        held.send(element(n))
        assert next(answers).id == str(n)
    held.end()
    assert list(answers) == []


def test_a_stream_of_nothing_ends_at_once(server: Server) -> None:
    assert list(stream(server, iter([]))) == []


@pytest.mark.parametrize(
    ("message", "name", "code", "text"),
    [
        (b"garbage", "", "INVALID_ARGUMENT", "the 7 bytes are not a covey.v1.ClassifyStreamRequest"),
        (b"\x0a\x02\xff\xff", "", "INVALID_ARGUMENT", "not a covey.v1.ClassifyStreamRequest: 'utf-8'"),
        (b"\x0a\x01x" * 100, "", "INVALID_ARGUMENT", "it has more than 16 fields"),
        (element("cut")[:-3], "", "INVALID_ARGUMENT", "the bytes end 3 before the last field does"),
        (b"\x0a\x01x\x12\x03abc", "x", "INVALID_ARGUMENT", "the 3 bytes are not a covey.v1.ClassifyRequest"),
        (b"", "", "INVALID_ARGUMENT", "the request holds no image"),
        (element("none", 0), "none", "INVALID_ARGUMENT", "pixels.data has 0 bytes; model 'echo' expects"),
        (element("unknown", model="nobody"), "unknown", "NOT_FOUND", "model 'nobody' is not served here"),
        (element("late", 1000, deadline_us=1), "late", "DEADLINE_EXCEEDED", "deadline"),
    ],
)
def test_a_bad_request_fails_alone(server: Server, message: bytes, name: str, code: str, text: str) -> None:
    answers = ask_all(server, [element("before", mark=3), message, element("after", mark=4)])
    assert best(answers["before"]) == [3]
    assert best(answers["after"]) == [4]
    assert answers[name].error.code == code
    assert text in answers[name].error.message


def test_two_thousand_bad_requests_are_each_told(server: Server) -> None:
    kinds = itertools.cycle([element("unknown", model="nobody"), b"", b"\xff", b"\x12\x01\x00"])
    messages = [next(kinds) for _ in range(2_000)]
    *bad, good = sorted(responses(stream(server, iter([*messages, element("good", mark=7)]))), key=best_or_error)
    assert [answer.error.code for answer in bad] == ["INVALID_ARGUMENT"] * 1_500 + ["NOT_FOUND"] * 500
    assert {answer.id for answer in bad[1_500:]} == {"unknown"}
    assert (good.id, best(good)) == ("good", [7])


def best_or_error(answer: pb.ClassifyStreamResponse) -> tuple[bool, str]:
    return answer.HasField("response"), answer.error.code


def test_callers_who_go_away_leave_nothing_behind(server: Server) -> None:
    for _ in range(2):
        held = Held()
        held.send(*(element(n, 20_000) for n in range(20)))
        call = stream(server, iter(held))
        next(call)
        call.cancel()
        held.end()
    wait_until(lambda: not (metric(server, "covey_calls_in_flight") or metric(server, "covey_streams_open")))
    assert best(ask_all(server, [element("next", mark=5)])["next"]) == [5]


def test_the_deadline_of_a_stream_ends_it(server: Server) -> None:
    held = Held()
    held.send(element("in time"))
    with pytest.raises(grpc.RpcError) as caught:
        list(stream(server, iter(held), timeout_s=0.5))
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    held.end()


def test_who_does_not_read_his_answers_is_soon_not_read_either(
    tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_echo_model(tmp_path)
    server = start_server(tmp_path)
    images, offered, taken = 1_000, 5_000, 0
    message = element("many", images)  # 16 kB, and an answer of 120 kB

    def messages() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(offered):
            taken += 1
            yield message

    def computed() -> float:
        return metric(server, 'covey_images_total{model="echo",version="1"}') / images

    call = stream(server, messages())
    next(call)
    seen: list[tuple[int, float]] = [(0, 0.0)]
    while len(seen) < 20 or seen[-1] != seen[-20]:  # as long as anything moves
        seen.append((taken, computed()))
    assert fronts_stream.MAX_ELEMENTS < computed() <= taken < offered / 2
    monkeypatch.setattr(fronts_stream, "MAX_STALL_S", 1.0)  # of writes from here on
    for _ in range(int(computed())):  # it goes on as answers are read
        next(call)
    assert computed() > seen[-1][1]
    expect_end_of_what_stalled(server, call)


def test_without_room_a_stream_waits_for_it(
    tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path)
    server = start_server(tmp_path, max_calls=3)
    answers = ask_all(server, [element(n, 20, n) for n in range(300)])
    assert all(best(answers[str(n)]) == [n % 10] * 20 for n in range(300))


def test_a_request_that_may_not_wait_for_room_is_told(
    tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path)
    server = start_server(tmp_path, max_calls=1, max_batch_size=1)
    held, other = Held(), Held()
    held.send(element("long", 250_000))
    other.send(element("short", deadline_us=20_000))
    first = stream(server, iter(held))
    wait_until(lambda: metric(server, "covey_calls_in_flight"))
    answers = responses(stream(server, iter(other)))
    error = next(answers).error
    assert error.code == "RESOURCE_EXHAUSTED"
    assert "1 calls are waiting already" in error.message
    assert error.retry_after_ms >= 1
    assert refusals(server) == 2, "one, told by two metrics, however often it was tried"
    first.cancel()
    held.end()
    wait_until(lambda: not metric(server, "covey_calls_in_flight"))
    other.send(element("now", mark=6))
    assert best(next(answers)) == [6]
    other.end()


class Opening:
    """A stream whose caller is about to be told that it is open."""

    def __init__(self, told: bool) -> None:
        self._told = asyncio.Event()
        if told:
            self._told.set()
        self.reading = asyncio.Event()
        self.ended_with: object = None

    def time_remaining(self) -> None:
        return None

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"

    async def send_initial_metadata(self, metadata: object) -> None:
        await self._told.wait()

    async def read(self) -> bytes:
        self.reading.set()
        await asyncio.Event().wait()
        return b""

    async def abort(self, code: grpc.StatusCode, details: str) -> None:
        self.ended_with = code


def test_streams_that_are_being_opened_are_ended_too() -> None:
    async def end() -> None:
        services = Services((), begin=lambda inline: None, written=lambda count, caller: None)
        several = Streams(2**20, None, {})
        serve: Any = several.handler(StreamMethod(lambda call: None, ClassifyElement), services)
        contexts = [Opening(told) for told in (True, False, True)]
        serving = [asyncio.create_task(serve(None, context)) for context in contexts]
        for context in (contexts[0], contexts[2]):
            await context.reading.wait()
        assert not contexts[1].reading.is_set(), "it is told first"
        several.end()
        await asyncio.wait_for(asyncio.gather(*serving), 20)
        assert [context.ended_with for context in contexts] == [grpc.StatusCode.UNAVAILABLE] * 3

    asyncio.run(end())


def test_a_server_that_stops_answers_what_it_has_read_and_says_so(
    front: str, tmp_path: Path, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path)
    server = Server(App(Config(models=tmp_path, grpc_port=0, metrics_port=0, front=front)))
    server.app.start()
    held, rest, found, enough = Held(), Held(), list[pb.ClassifyStreamResponse](), threading.Event()
    idle = stream(server, iter(held))
    # It ends in the middle of these; who still sends when the connection closes may find it broken before the last
    # answers are read.
    busy = stream(server, itertools.chain((element(n, 200, n) for n in range(120)), rest))

    def read() -> tuple[grpc.StatusCode, str]:
        try:
            for answer in responses(busy):
                found.append(answer)
                if len(found) == 50:
                    enough.set()
        except grpc.RpcError as error:
            return error.code(), error.details() or ""
        raise AssertionError("the stream ended in good order")

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        assert enough.wait(30)
        assert server.app.stop()
        code, details = reading.result(30)
    assert code is grpc.StatusCode.UNAVAILABLE
    assert details == "the server is shutting down; send what is not answered to another one, or here once it is back"
    answered = [answer for answer in found if answer.HasField("response")]
    assert all(best(answer) == [int(answer.id) % 10] * 200 for answer in answered)
    labels = {"model": "echo", "version": "1", "code": "OK", "protocol": "grpc"}
    assert server.app.registry.get_sample_value("covey_requests_total", labels) == len(answered)
    assert sorted(int(answer.id) for answer in found) == list(range(len(found))), "what was read was answered"
    with pytest.raises(grpc.RpcError, match="the server is shutting down"):
        next(idle)
    held.end()
    rest.end()
    server.channel.close()
