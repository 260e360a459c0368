"""Which calls get records, and what happens when nobody takes them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from covey_server.calls.burst import Burst
from covey_server.calls.call import Call, Metadata
from covey_server.calls.record import LOG, TRACE, Record
from covey_server.calls.service import Service, Services
from covey_server.calls.status import Status
from covey_server.config import Access
from covey_server.errors import InvalidConfiguration
from covey_server.observability import recording
from covey_server.observability.recording import Recording, open_recording
from covey_server.observability.trace_settings import Sampling

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0"
PATH = "/service/Method"


class Asked(Call):
    """A call with a traceparent."""

    def __init__(self, parent: str = "") -> None:
        super().__init__(b"payload", "peer", 1, None)
        self._parent = parent

    @property
    def metadata(self) -> Metadata:
        return (("traceparent", self._parent),) if self._parent else ()

    def reply(self, payload: bytes) -> None:
        if self.record is not None:
            self.record.end(None, len(payload))

    def fail(self, status: Status) -> None:
        if self.record is not None:
            self.record.end(status, 0)


class Together(Burst):
    """Such calls, which came together."""

    def __init__(self, calls: Sequence[Asked]) -> None:
        super().__init__([call.payload for call in calls], [call.peer for call in calls], 1, None)
        self.made = calls

    def headers(self, name: str) -> list[str]:
        return [call.header(name) for call in self.made]

    @property
    def principals(self) -> list[str]:
        return [call.principal for call in self.made]

    @property
    def cancelled(self) -> bool:
        return False

    def select(self, places: Sequence[int]) -> Together:
        return Together([self.made[place] for place in places])

    def calls(self) -> list[Call]:
        for call in self.made:
            if self.begin_record is not None:
                self.begin_record(call)
        return list(self.made)

    def reply(self, payloads: Sequence[bytes]) -> None:
        raise AssertionError("not in these tests")


class Kept(Recording):
    """Keeps what ends."""

    def __init__(self, access: Access, sampling: Sampling | None = None) -> None:
        """With a `sampling`, it is enough that there are traces: no span is made."""
        traces: Any = None if sampling is None else object()
        super().__init__(access, 0.0, traces, sampling)
        self.records: list[Record] = []

    def ended(self, record: Record) -> None:
        self.records.append(record)


def test_traced_calls_leave_their_burst_and_the_others_stay_together() -> None:
    recorder = Kept("off", Sampling(0.0))
    alone: list[Call] = []
    together: list[Sequence[Call]] = []
    service = Service("service", {"Method": alone.append})
    services = Services((service,), begin=lambda _: None, written=lambda *_: None, recorder=recorder)
    calls = [Asked(PARENT + flag) for flag in "0100"]
    services.serve_bursts(
        [(alone.append, lambda burst, _: together.append(burst.calls()), Together(calls))], inline=True
    )

    assert alone == [calls[1]]
    assert together == [[calls[0], calls[2], calls[3]]]
    assert [call.record is not None for call in calls] == [False, True, False, False]
    record = calls[1].record
    assert record is not None
    assert (record.method, record.route, record.kept_for) == (PATH, PATH, TRACE)
    assert record.parent[0] == PARENT + "1"


def test_where_all_calls_are_recorded_none_stays_in_the_burst() -> None:
    recorder = Kept("all")
    alone: list[Call] = []
    services = Services((), begin=lambda _: None, written=lambda *_: None, recorder=recorder)
    calls = [Asked(), Asked()]
    services.serve_bursts([(alone.append, lambda *_: pytest.fail("nothing is left"), Together(calls))], inline=True)
    assert alone == calls
    assert [call.record.kept_for for call in calls if call.record is not None] == [LOG, LOG]


def test_a_record_ends_once() -> None:
    recorder = Kept("errors")
    call = Asked()
    recorder.begin(call, PATH)
    call.fail(Status(13, "broken"))
    call.reply(b"late")
    assert [(record.status, record.message) for record in recorder.records] == [("INTERNAL", "broken")]


@pytest.mark.parametrize(
    ("module", "environment"),
    [
        ("opentelemetry.sdk.trace", {}),
        ("opentelemetry.exporter.otlp.proto.grpc.trace_exporter", {}),
        (
            "opentelemetry.exporter.otlp.proto.http.trace_exporter",
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
        ),
    ],
)
def test_a_missing_package_is_told_with_what_to_install(
    module: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    monkeypatch.delitem(sys.modules, "covey_server.observability.traces", raising=False)
    wanted = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", **environment}
    with pytest.raises(InvalidConfiguration, match=r"is not installed: pip install 'covey-serve\[otel\]'"):
        open_recording("off", 0.0, wanted, lambda _, __: None)


def test_what_nobody_takes_is_dropped_and_reported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(recording, "MAX_WAITING", 3)
    recorder = Recording("all", 0.0)
    for _ in range(5):
        call = Asked()
        recorder.begin(call, PATH)
        call.reply(b"answer")
    assert recorder.dropped == 2
    with caplog.at_level(logging.INFO):
        recorder.start()
        recorder.stop()
    lines = [record.getMessage() for record in caplog.records]
    assert sum(PATH in line for line in lines) == 3
    assert "2 records of calls were dropped: they are not taken fast enough" in lines
