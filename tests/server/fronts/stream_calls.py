"""Calls of ClassifyStream with messages as they are, and what the metrics tell of them."""

from __future__ import annotations

import queue
import re
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import numpy as np
import pytest
from bench.processes import fetch
from tests.server.conftest import Server
from tests.waiting import wait_until

from covey_proto.v1 import classifier_pb2 as pb

STREAM = "/covey.v1.Classifier/ClassifyStream"
Answers = dict[str, pb.ClassifyStreamResponse]


def stream(server: Server, messages: Iterator[bytes], timeout_s: float = 60) -> Any:  # noqa: ANN401 - the stubs do not name it
    """A call with messages as they are."""
    method: grpc.StreamStreamMultiCallable[bytes, bytes] = server.channel.stream_stream(STREAM)
    return method(messages, timeout=timeout_s)


def element(name: object, images: int = 1, mark: int = 0, *, deadline_us: int = 0, model: str = "echo") -> bytes:
    """A request whose answer's best class is `mark % 10`."""
    pixels = np.zeros((images, 16), np.uint8)
    pixels[:, mark % 10] = 255
    request = pb.ClassifyRequest(model=model, pixels=pb.Pixels(data=pixels.tobytes()))
    return pb.ClassifyStreamRequest(id=str(name), request=request, deadline_us=deadline_us).SerializeToString()


def responses(call: Iterator[bytes]) -> Iterator[pb.ClassifyStreamResponse]:
    return map(pb.ClassifyStreamResponse.FromString, call)


def ask_all(server: Server, messages: Sequence[bytes]) -> Answers:
    """The answers by their ids, of which there are as many."""
    found = list(responses(stream(server, iter(messages))))
    answers = {answer.id: answer for answer in found}
    assert len(found) == len(messages) == len(answers)
    return answers


def best(answer: pb.ClassifyStreamResponse) -> list[int]:
    assert answer.HasField("response"), answer
    return [result.classes[0].index for result in answer.response.results]


def metric(server: Server, sample: str) -> float:
    found = re.search(rf"^{re.escape(sample)} (\S+)$", fetch(server.metrics_url), re.MULTILINE)
    return float(found[1]) if found else 0.0


class Held:
    """Messages that are sent one by one, as the test says so."""

    def __init__(self) -> None:
        self._messages: queue.Queue[bytes | None] = queue.Queue()

    def send(self, *messages: bytes) -> None:
        for message in messages:
            self._messages.put(message)

    def end(self) -> None:
        self._messages.put(None)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._messages.get, None)


def refusals(server: Server) -> float:
    """What was counted as refused, in either way."""
    sample = r"^covey_(?:refused_total.*|requests_total.*RESOURCE_EXHAUSTED.*) (\S+)$"
    found = re.findall(sample, fetch(server.metrics_url), re.MULTILINE)
    return sum(map(float, found))


def expect_end_of_what_stalled(server: Server, call: Iterator[bytes]) -> None:
    """It counts as open until its caller has taken what is on the way, and holds nothing."""
    wait_until(lambda: not metric(server, "covey_stream_bytes"))
    assert metric(server, "covey_streams_open") == 1
    with pytest.raises(grpc.RpcError, match="no answer was taken for too long: the stream has ended") as caught:
        list(call)
    assert caught.value.code() is grpc.StatusCode.ABORTED
    wait_until(lambda: not metric(server, "covey_streams_open"))
