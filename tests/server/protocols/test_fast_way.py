"""The fast way answers as the ordinary one does: the same bytes for any requests, however many come together."""

from __future__ import annotations

import io
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from tests.conftest import WriteModel
from tests.server.conftest import Server, running_servers
from tests.server.fakes import MS

from covey_proto.inference import open_inference_pb2 as oip
from covey_proto.v1 import classifier_pb2 as pb
from covey_server.batching.limits import Allowances, Limits
from covey_server.calls.account import Allowance
from covey_server.calls.burst import Burst
from covey_server.calls.call import Call
from covey_server.calls.service import Services
from covey_server.calls.status import Status
from covey_server.fronts.native import NativeFront
from covey_server.inference.cost import CostModel
from covey_server.protocols import forms as known
from covey_server.protocols.classifier.service import NAME as CLASSIFIER
from covey_server.protocols.open_inference.service import NAME as OPEN_INFERENCE
from covey_server.protocols.pipeline import PipelineRequest
from covey_server.protocols.wire_format import cut_out

NAN_AT = 77  # a last pixel for which the model `echo` answers NaN
CLASSIFY, INFER = f"/{CLASSIFIER}/Classify", f"/{OPEN_INFERENCE}/ModelInfer"


class Recorded(Call):
    """A call that keeps its answer."""

    holds_answer = True

    def __init__(self, payload: bytes, peer: str, arrived_ns: int, deadline_ns: int | None) -> None:
        super().__init__(payload, peer, arrived_ns, deadline_ns)
        self.answers: list[bytes | Status] = []
        self.answered = threading.Event()

    @property
    def principal(self) -> str:
        return self.peer

    def reply(self, payload: bytes) -> None:
        self.answers.append(payload)
        self.answered.set()

    def fail(self, status: Status) -> None:
        self.answers.append(status)
        self.answered.set()


class RecordedBurst(Burst):
    """Those calls as a burst, which counts how many are answered together."""

    holds_answer = True

    def __init__(self, calls: Sequence[Recorded], together: list[int]) -> None:
        deadlines = [call.deadline_ns for call in calls if call.deadline_ns is not None]
        payloads, peers = [call.payload for call in calls], [call.peer for call in calls]
        super().__init__(payloads, peers, calls[0].arrived_ns, min(deadlines, default=None))
        self._calls = calls
        self._together = together

    @property
    def principals(self) -> list[str]:
        return [call.principal for call in self._calls]

    @property
    def cancelled(self) -> bool:
        return any(call.cancelled for call in self._calls)

    def headers(self, name: str) -> list[str]:
        return [call.header(name) for call in self._calls]

    def select(self, places: Sequence[int]) -> RecordedBurst:
        return RecordedBurst([self._calls[place] for place in places], self._together)

    def calls(self) -> list[Call]:
        return list(self._calls)

    def reply(self, payloads: Sequence[bytes]) -> None:
        self._together.append(len(payloads))
        for call, payload in zip(self._calls, payloads, strict=True):
            call.reply(payload)


Sent = tuple[str, bytes, str, bool, bool]  # method, payload, caller, whether its time is over, whether it has gone


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, write_echo_model: WriteModel) -> Iterator[Server]:
    models = tmp_path_factory.mktemp("models")
    write_echo_model(models, "echo", nan_at=NAN_AT)
    write_echo_model(models, "colour", version=7, shape=(2, 3, 3), classes=18)
    write_echo_model(models, "wary", known_from=60 / 255, nan_at=NAN_AT)
    with running_servers("native") as start:
        started = start(models, default_model="echo", max_batch_size=8)
        # Its callers have no connection: each second the front would count their answers out.
        assert started.app._guard is not None
        started.app._guard._table._unwritten = dict  # type: ignore[method-assign]
        yield started


def make_calls(sent: Sequence[Sent]) -> list[Recorded]:
    now = time.monotonic_ns()
    calls = [Recorded(payload, caller, now, now - 1 if late else None) for _, payload, caller, late, _ in sent]
    for call, (_, _, _, _, gone) in zip(calls, sent, strict=True):
        call.cancelled = gone
    return calls


def wait(calls: Sequence[Recorded]) -> list[bytes | Status]:
    for call in calls:
        assert call.answered.wait(20)
        assert len(call.answers) == 1
    return [call.answers[0] for call in calls]


def ask_one_by_one(server: Server, sent: Sequence[Sent]) -> list[bytes | Status]:
    services = services_of(server)
    handlers = {path: handler for service in services.all for path, handler in service.paths.items()}
    calls = make_calls(sent)
    services.serve([(handlers[each[0]], call) for each, call in zip(sent, calls, strict=True)], inline=True)
    return wait(calls)


def ask_together(server: Server, sent: Sequence[Sent], together: list[int]) -> list[bytes | Status]:
    calls = make_calls(sent)
    by_method: dict[str, list[Recorded]] = {}
    for each, call in zip(sent, calls, strict=True):
        by_method.setdefault(each[0], []).append(call)
    send(server, by_method, together)
    return wait(calls)


def send(server: Server, by_method: Mapping[str, Sequence[Recorded]], together: list[int]) -> None:
    services = services_of(server)
    handlers = {path: handler for service in services.all for path, handler in service.paths.items()}
    burst_handlers = {path: handler for service in services.all for path, handler in service.burst_paths.items()}
    bursts = [
        (handlers[path], burst_handlers[path], RecordedBurst(calls, together)) for path, calls in by_method.items()
    ]
    services.serve_bursts(bursts, inline=True)


def comparable(method: str, answer: bytes | Status) -> object:
    """An answer without what two runs do not have in common: how long they took and which requests they shared a batch
    with."""
    if isinstance(answer, Status):
        # Which image of how many is told only where a request is not split over batches.
        return answer.code, re.sub(r"[\d.]+ ms|image \d of \d: ", "", answer.message)
    if method == INFER:
        return answer
    message = pb.ClassifyResponse.FromString(answer)
    timing = message.timing
    assert timing.total_us == timing.decode_us + timing.queue_us + timing.compute_us
    cut = cut_out(answer, (pb.ClassifyResponse.TIMING_FIELD_NUMBER,))
    assert cut is not None
    return cut[0], timing.device


def totals(server: Server) -> Counter[str]:
    """What the metrics have counted."""
    server.wait_until_idle()
    figures: Counter[str] = Counter()
    for model in server.app.repository.catalog.served:
        tally = server.app._metrics.tally(model)
        figures.update({f"{model.name} {code}": count for (code, _), count in tally.codes.items()})
        figures[f"{model.name} images"] = tally.images
        figures[f"{model.name} not finite"] = tally.invalid_outputs
        figures[f"{model.name} times"] = sum(tally.request.counts)
    return figures


def services_of(server: Server) -> Services:
    front = server.app.front
    assert isinstance(front, NativeFront)
    return front._services


png = io.BytesIO()
Image.new("L", (4, 4), 9).save(png, "PNG")

models = st.sampled_from(
    [
        ("", 0),
        ("echo", 0),
        ("echo", 1),
        ("echo", 9),
        ("colour", 0),
        ("colour", 7),
        ("wary", 0),
        ("wary", 1),
        ("none", 0),
    ]
)
shapes = {"colour": (2, 3, 3)}


@st.composite
def classify_payloads(draw: st.DrawFn) -> bytes:
    name, version = draw(models)
    height, width, channels = shapes.get(name, (4, 4, 1))
    request = pb.ClassifyRequest(model=name, version=version)
    if top_k := draw(st.sampled_from([0, 0, 0, 1, 3, 10, 11])):
        request.top_k = top_k
    if draw(st.integers(0, 9)) == 0:
        request.encoded.images.append(png.getvalue())
        return request.SerializeToString()
    size = height * width * channels * draw(st.sampled_from([1, 1, 1, 2, 3])) + draw(st.sampled_from([0] * 9 + [1]))
    request.pixels.data = draw_pixels(draw, size)
    if draw(st.integers(0, 3)) == 0:
        request.pixels.height = draw(st.sampled_from([height, height, 5]))
    payload = request.SerializeToString()
    return payload + draw(st.sampled_from([b""] * 8 + [b"\x7a\x01x", b"\x2a\x00", b"\x08", b"\x2a\x03\x0a\x01\x05"]))


@st.composite
def infer_payloads(draw: st.DrawFn) -> bytes:
    name, version = draw(models)
    shape = shapes.get(name, (4, 4, 1))
    count = draw(st.sampled_from([1, 1, 1, 2, 3]))
    request = oip.ModelInferRequest(model_name=name, model_version=str(version) if version else "")
    request.id = draw(st.sampled_from(["", "", "", "mine"]))
    tensor = request.inputs.add(name="images", datatype=draw(st.sampled_from(["UINT8"] * 9 + ["FP32"])))
    tensor.shape.extend([count, *shape])
    if k := draw(st.sampled_from([0, 0, 0, 2])):
        output = request.outputs.add(name="probabilities")
        output.parameters["classification"].int64_param = k
    if draw(st.integers(0, 4)) == 0:
        request.outputs.add(name="known")
    if draw(st.integers(0, 5)) == 0:
        request.parameters["timeout"].int64_param = 10_000_000
    size = count * int(np.prod(shape)) + draw(st.sampled_from([0] * 9 + [1]))
    request.raw_input_contents.append(draw_pixels(draw, size))
    return request.SerializeToString()


def draw_pixels(draw: st.DrawFn, size: int) -> bytes:
    pixels = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 70, size, np.uint8)
    if size and draw(st.integers(0, 9)) == 0:
        pixels[-1] = NAN_AT
    return pixels.tobytes()


def classify(fields: bytes, more: bytes, pixels: bytes) -> bytes:
    return fields + pb.ClassifyRequest(pixels=pb.Pixels(data=pixels)).SerializeToString() + more


# Of one length each, and not the same: top_k is field 3, version field 2, one that nobody knows field 15.
ALIKE = (
    (
        (b"\x18\x01", b""),
        (b"\x18\x03", b""),
        (b"\x10\x01", b""),
        (b"\x10\x09", b""),
        (b"", b"\x18\x01"),
        (b"", b"\x78\x01"),
    ),
    ((b"\x18\x01", b"\x18\x02"), (b"\x18\x01", b"\x18\x03"), (b"\x18\x01", b"\x18\x0b"), (b"\x10\x01\x18\x04", b"")),
)


@st.composite
def similar_payloads(draw: st.DrawFn) -> list[tuple[str, bytes]]:
    """Of one length, and most of them of few forms."""
    some = draw(st.lists(st.sampled_from(draw(st.sampled_from(ALIKE))), min_size=1, max_size=8))
    return [(CLASSIFY, classify(before, after, draw_pixels(draw, 16))) for before, after in some]


any_payload = classify_payloads().map(lambda each: (CLASSIFY, each)) | infer_payloads().map(lambda each: (INFER, each))
rarely = st.sampled_from([False] * 19 + [True])


@st.composite
def bursts(draw: st.DrawFn) -> list[Sent]:
    payloads = draw(st.lists(any_payload, min_size=1, max_size=6) | similar_payloads())
    some = [(*payload, draw(st.sampled_from(["a", "b"])), draw(rarely), draw(rarely)) for payload in payloads]
    return some * draw(st.integers(1, 3))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bursts(), st.booleans())
def test_both_ways_answer_the_same_bytes(server: Server, calls: list[Sent], are_limited: bool) -> None:
    """And take the same of what the callers' principals may, if there are such limits."""
    admission = server.app._admission
    pipeline = services_of(server).all[0].handlers["Classify"].__self__._pipeline  # type: ignore[attr-defined]
    tables = {"a": Allowance(1e6, 1e6, 100), "b": Allowance(1e6, 1e6, 100, "batch")}
    limits = Limits(Allowances(tables, {each: each for each in tables}), clock_ns=lambda: 0)
    pipeline.limits = limits if are_limited else None

    def taken() -> dict[str, tuple[float, float]]:
        accounts = limits._accounts.items()
        assert [account.in_flight for _, account in accounts] == [0] * len(accounts)
        return {name: (account.requests_until_ns, account.images_until_ns) for name, account in accounts}

    before = totals(server)
    expected = ask_one_by_one(server, calls)
    once = taken()
    for caller, count in admission.unwritten().items():
        admission.written(count, caller)
    counted = totals(server) - before
    for times in (2, 3):  # the first may have to learn the forms
        before, held = totals(server), Counter(admission.unwritten())
        answers = ask_together(server, calls, [])
        for (method, *_), answer, other in zip(calls, answers, expected, strict=True):
            assert comparable(method, answer) == comparable(method, other)
        assert totals(server) - before == counted
        for (_, _, caller, *_), answer in zip(calls, answers, strict=True):
            held[caller] += 0 if isinstance(answer, Status) else len(answer)
        assert +held == Counter(admission.unwritten())
        for caller, count in held.items():
            admission.written(count, caller)  # as if it had gone to the network
        assert (admission.calls, admission.bytes) == (0, 0)
        assert taken() == {name: (times * paid, times * images) for name, (paid, images) in once.items()}
    assert bool(once) == are_limited
    pipeline.limits = None


def pixels(mark: int) -> bytes:
    return bytes([*range(15), mark])


def classify_all(server: Server, marks: Sequence[int], **fields: Any) -> list[int]:
    """Classifies images that come together; returns how many calls were answered together."""
    requests = [pb.ClassifyRequest(pixels=pb.Pixels(data=pixels(mark)), **fields) for mark in marks]
    calls: list[Sent] = [(CLASSIFY, request.SerializeToString(), "a", False, False) for request in requests]
    together: list[int] = []
    answers = ask_together(server, calls, together)
    assert [comparable(CLASSIFY, each) for each in answers] == [
        comparable(CLASSIFY, each) for each in ask_one_by_one(server, calls)
    ]
    return together


def test_requests_that_are_alike_are_answered_together(server: Server) -> None:
    classify_all(server, [1], top_k=2)
    assert classify_all(server, range(8), top_k=2) == [8]
    assert classify_all(server, [5], top_k=2) == [1]


def test_more_than_a_batch_holds_are_answered_one_by_one(server: Server) -> None:
    classify_all(server, [1], top_k=2)
    assert classify_all(server, range(9), top_k=2) == []


def test_an_answer_that_is_not_finite_is_no_other_callers_matter(server: Server) -> None:
    classify_all(server, [1], top_k=2)
    assert classify_all(server, [1, NAN_AT, 2], top_k=2) == []


def test_in_overload_all_calls_of_a_burst_are_refused_and_counted(
    tmp_path: Path, write_echo_model: WriteModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_echo_model(tmp_path)
    with running_servers("native") as start:
        server = start(tmp_path, inline_us=0, workers=1)
        classify_all(server, [1], top_k=2)
        (model,) = server.app.repository.catalog.served
        model.cost = CostModel({1: 20 * MS, 8: 20 * MS})
        running, gate, run = threading.Semaphore(0), threading.Event(), model.engine.run

        def held_back(images: NDArray[np.uint8]) -> NDArray[np.float32]:
            running.release()
            assert gate.wait(20)
            return run(images)

        monkeypatch.setattr(model.engine, "run", held_back)
        payload = pb.ClassifyRequest(pixels=pb.Pixels(data=pixels(1)), top_k=2).SerializeToString()
        waiting = [Recorded(payload, "a", time.monotonic_ns(), None) for _ in range(13)]
        send(server, {CLASSIFY: waiting[:1]}, [])
        assert running.acquire(timeout=20)  # the only worker is held up
        send(server, {CLASSIFY: waiting[1:]}, [])
        now = time.monotonic_ns()
        burst = [Recorded(payload, caller, now, now + 30 * MS) for caller in "bbbcbb"]
        send(server, {CLASSIFY: burst}, [])
        for answer in wait(burst):
            assert isinstance(answer, Status)
            assert (answer.name, answer.retry_after_ms is not None) == ("RESOURCE_EXHAUSTED", True)
        assert server.app._metrics.tally(model).codes["RESOURCE_EXHAUSTED", "grpc"] == len(burst)
        assert server.app._metrics._refused["deadline"] == len(burst)
        assert server.app._admission.calls == len(waiting)
        gate.set()
        assert not any(isinstance(answer, Status) for answer in wait(waiting))


class Ordered(Recorded):
    """A call that says whose it is when it is answered, and with what."""

    def __init__(self, payload: bytes, peer: str, order: list[str]) -> None:
        super().__init__(payload, peer, time.monotonic_ns(), None)
        self._order = order

    def reply(self, payload: bytes) -> None:
        self._order.append(f"{self.peer} OK")
        super().reply(payload)

    def fail(self, status: Status) -> None:
        self._order.append(f"{self.peer} {status.name}")
        super().fail(status)


def ask_in_order(
    server: Server, monkeypatch: pytest.MonkeyPatch, callers: str, **tables: Allowance
) -> tuple[list[str], list[int], list[str]]:
    """Calls of these callers that come together: the order in which they are answered, how many together, and the
    messages of those that are refused."""
    pipeline = services_of(server).all[0].handlers["Classify"].__self__._pipeline  # type: ignore[attr-defined]
    model = server.app.repository.catalog.find("echo", 0)
    classify_all(server, [1], top_k=2)
    server.wait_until_idle()
    # So that it runs inline, however busy; a new one, since that run may have been late and has set its own apart.
    monkeypatch.setattr(model, "cost", CostModel({1: 1000.0, 8: 1000.0}))
    limits = Limits(Allowances(tables, {each: each for each in tables}), clock_ns=lambda: 0)
    monkeypatch.setattr(pipeline, "limits", limits)
    payload = pb.ClassifyRequest(pixels=pb.Pixels(data=pixels(1)), top_k=2).SerializeToString()
    order: list[str] = []
    together: list[int] = []
    calls = [Ordered(payload, caller, order) for caller in callers]
    send(server, {CLASSIFY: calls}, together)
    answers = wait(calls)
    admission = server.app._admission
    for caller, count in admission.unwritten().items():
        admission.written(count, caller)
    assert (admission.calls, admission.bytes) == (0, 0)
    assert {account.in_flight for account in limits._accounts.values()} == {0}
    return order, together, [answer.message for answer in answers if isinstance(answer, Status)]


@pytest.mark.parametrize(
    ("allowance", "text"),
    [
        (Allowance(in_flight=2), "2 calls of 'b' are unanswered"),
        (Allowance(requests_per_s=2), "'b' may send 2 requests per second"),
        (Allowance(images_per_s=2), "'b' may send 2 images per second, and 1 more would pass that"),
    ],
)
def test_a_flood_that_is_refused_holds_up_no_other_principal(
    server: Server, monkeypatch: pytest.MonkeyPatch, allowance: Allowance, text: str
) -> None:
    """Its refusals come after the answers of all who have room, also of what arrived behind it; and they are counted
    as if each call had been refused by itself."""
    metrics = server.app._metrics
    before = sum(metrics._refused.values())
    order, together, messages = ask_in_order(server, monkeypatch, "bbbbba", a=Allowance(), b=allowance)
    assert order[0] == "a OK"
    assert together == [1]
    assert Counter(order[1:]) == {"b OK": 2, "b RESOURCE_EXHAUSTED": 3}
    assert [text in message for message in messages] == [True] * 3
    assert sum(metrics._refused.values()) == before + 3


def test_priority_batch_comes_behind_what_arrived_with_it(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each priority on the fast way."""
    batch = Allowance(priority="batch")
    order, together, _ = ask_in_order(server, monkeypatch, "bbba", a=Allowance(), b=batch)
    assert order == ["a OK", "b OK", "b OK", "b OK"]
    assert together == [1, 3]


def test_forms_are_forgotten_when_the_models_change(tmp_path: Path, write_echo_model: WriteModel) -> None:
    write_echo_model(tmp_path, classes=10)
    with running_servers("native") as start:
        server = start(tmp_path)
        classify_all(server, [1], top_k=9)
        assert classify_all(server, [1, 2], top_k=9) == [2]
        write_echo_model(tmp_path, version=2, classes=4)
        while server.app.repository.catalog.find("echo", 0).version != 2:
            server.app.repository.refresh()
        assert classify_all(server, [1, 2], top_k=9) == [], "the new version has fewer classes"


def test_forms_are_limited_in_number() -> None:
    class Nothing(known.Form):
        def request(self, *_: object) -> PipelineRequest:
            raise NotImplementedError

        def write(self, *_: object) -> list[bytes]:
            raise NotImplementedError

    forms = known.Forms()
    for number in range(3 * known.MAX_FORMS):
        form = Nothing("", 0, 1)
        form.start, form.stop = 4, 20 + number % 9
        payload = b"%04d" % number + bytes(40)
        forms.add(payload, form)
        assert forms.find(payload) is form
        assert len(forms) <= known.MAX_FORMS
    assert forms.find(b"%04d" % number + bytes(41)) is None
