"""A call that a canary is too slow for is answered by the served version, by whatever way it came, and counts against
the canary."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import generate_latest
from tests.conftest import WriteModel
from tests.server.conftest import Server, StartServer, running_servers
from tests.server.fakes import FakeRequest
from tests.server.fronts.stream_calls import element, responses, stream
from tests.server.observability.test_canaries import ask, state, told
from tests.server.protocols.test_canary_fails import WAYS, Found, with_canary
from tests.server.protocols.test_open_inference import Unanswered
from tests.waiting import wait_until

from covey_proto.v1 import classifier_pb2 as pb
from covey_server.errors import Cancelled, DeadlineTooShort, Expired, Overloaded, RequestError
from covey_server.inference.cost import CostModel
from covey_server.inference.served_model import ServedModel
from covey_server.observability.canaries import figures
from covey_server.observability.canary_rules import MIN_TIMED
from covey_server.protocols import canaries

DEADLINE_S = 600
HOUR_NS = 3600e9  # as the canary predicts of any batch
TIGHT_NS = DEADLINE_S * 0.9e9  # enough on an idle server, and too much behind another request


@pytest.fixture
def start() -> Iterator[StartServer]:
    with running_servers("native") as start:
        yield lambda models, **settings: start(
            models, **({"canary_share": 1.0, "max_batch_size": 8, "default_deadline_ms": DEADLINE_S * 1000} | settings)
        )


@pytest.fixture
def server(start: StartServer, tmp_path: Path, write_echo_model: WriteModel) -> Server:
    """All callers get version 2, a copy of version 1."""
    with_canary(tmp_path, write_echo_model)
    server = start(tmp_path)
    wait_until(lambda: state(server) == "trial")
    return server


def found(server: Server, version: int) -> ServedModel:
    return server.app.repository.catalog.find("echo", version)


def predict(server: Server, version: int, batch_ns: float) -> None:
    """Has a version predict this of every batch, as after runs that took so long."""
    found(server, version).cost = CostModel(dict.fromkeys((1, 2, 4, 8), batch_ns))


def late(server: Server, version: int) -> int:
    return server.app._metrics.read(found(server, version), figures).late


@pytest.mark.parametrize("way", WAYS)
def test_the_served_version_answers(server: Server, way: Callable[[Server, int], Found]) -> None:
    predict(server, 2, HOUR_NS)
    assert way(server, 0) == way(server, 1)
    assert way(server, 0)[0] == 1
    assert (late(server, 2), late(server, 1)) == (2, 0)
    server.wait_until_idle()
    wait_until(lambda: not server.app._admission.calls)
    admission = server.app._admission
    assert (admission.bytes, admission.decodes) == (admission.answer_bytes, 0), "nothing is counted twice"
    page = generate_latest(server.app.registry).decode()
    assert 'covey_refused_total{reason="deadline"} 0.0' in page, "no caller was refused"


def by_call(server: Server) -> int:
    return server.classify(pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(16))), timeout_s=None).version


def by_stream(server: Server) -> int:
    (answer,) = responses(stream(server, iter([element("a")]), timeout_s=DEADLINE_S))
    return answer.response.version


@pytest.mark.parametrize("way", [by_call, by_stream])
def test_a_long_queue_of_the_canary_is_its_own_fault(server: Server, way: Callable[[Server], int]) -> None:
    """Of a stream too, though its requests wait where the whole server has no room."""
    predict(server, 2, TIGHT_NS)
    server.app._batcher.put(
        FakeRequest(found(server, 2), np.zeros((1, 4, 4, 1), np.uint8))
    )  # no worker is woken for it
    assert way(server) == 1
    assert (late(server, 2), late(server, 1)) == (1, 0)


def test_what_a_stream_waits_for_counts_for_neither(server: Server) -> None:
    """Too much waits for both versions; then it has run."""
    for version in (1, 2):
        predict(server, version, TIGHT_NS)
        server.app._batcher.put(FakeRequest(found(server, version), np.zeros((8, 4, 4, 1), np.uint8)))
    assert by_stream(server) == 2
    assert (late(server, 2), late(server, 1)) == (0, 0)


def test_what_neither_has_time_for_fails_and_counts_for_both(server: Server) -> None:
    predict(server, 1, HOUR_NS)
    predict(server, 2, HOUR_NS)
    code, text = server.error(pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(16))))
    assert code.name == "DEADLINE_EXCEEDED", text
    assert (late(server, 2), late(server, 1)) == (1, 1)


def test_who_names_the_version_is_refused(server: Server) -> None:
    predict(server, 2, HOUR_NS)
    code, _ = server.error(pb.ClassifyRequest(version=2, pixels=pb.Pixels(data=bytes(16))))
    assert code.name == "DEADLINE_EXCEEDED"
    assert (late(server, 2), late(server, 1)) == (1, 0)


def test_a_canary_that_is_late_is_rolled_back(
    start: StartServer, tmp_path: Path, write_echo_model: WriteModel, caplog: pytest.LogCaptureFixture
) -> None:
    """Though it has answered nobody, so that its times say nothing."""
    with_canary(tmp_path, write_echo_model)
    server = start(tmp_path, canary_share=0.5)
    wait_until(lambda: state(server) == "trial")
    predict(server, 2, HOUR_NS)
    numbers = itertools.count()
    answered = {ask(server, str(next(numbers))).version for _ in range(8 * MIN_TIMED)}
    assert answered == {1}
    wait_until(lambda: state(server) == "rolled_back")
    text = r"it could not meet the deadlines of ([\d,]+) of \1 calls, and version 1 those of 0 of [\d,]+"
    assert re.fullmatch(text, told(server, 2)[1])
    assert re.search(r"0 calls, 0 failed, [\d,]+ late, 0 images", caplog.text)
    page = generate_latest(server.app.registry).decode()
    assert re.search(r'covey_canary_late_calls{model="echo",version="2"} [1-9]', page)


NEVER_NS, LONG_AGO_NS = 1 << 62, 1  # by time.monotonic_ns


@pytest.mark.parametrize(
    ("error", "deadline_ns", "is_passed_on"),
    [
        (DeadlineTooShort("too short", refused_for="deadline"), NEVER_NS, True),
        (Overloaded("too much waits", refused_for="deadline"), NEVER_NS, True),
        (Expired("it cannot be computed in time any more"), NEVER_NS, True),
        (Expired("it has passed"), LONG_AGO_NS, False),
        (Overloaded("the server is full", refused_for="calls"), NEVER_NS, False),
        (Overloaded("its principal's limit", refused_for="images_per_s"), NEVER_NS, False),
        (Cancelled("gone"), NEVER_NS, False),
    ],
)
def test_what_the_served_version_may_have_time_for(error: RequestError, deadline_ns: int, is_passed_on: bool) -> None:
    call = Unanswered(b"", "peer", 0, deadline_ns)
    call.again = id
    assert canaries.second_try(call, error, deadline_ns) is (id if is_passed_on else None)
    assert canaries.is_tried_again(call) is is_passed_on


def test_a_call_that_both_refused_is_as_new() -> None:
    """A stream tries it again, and then it is counted and charged anew."""
    late = Overloaded("too much waits", refused_for="deadline")
    call = Unanswered(b"", "peer", 0, NEVER_NS)
    call.again = id
    assert canaries.second_try(call, late, NEVER_NS) is id
    assert canaries.second_try(call, late, NEVER_NS) is None
    assert not canaries.is_tried_again(call)
    assert not canaries.may_try_again(call)
