"""Refusals that are held back: how long, how many, and that each call is answered once."""

from __future__ import annotations

import queue
import time

import pytest

from covey_server.calls import late_refusals
from covey_server.calls.call import Call
from covey_server.calls.late_refusals import LateRefusals
from covey_server.calls.status import Status
from covey_server.errors import Overloaded

LONG_S = 10_000.0
REFUSED = Status(8, "too many")


class Refused(Call):
    """Remembers when it was answered."""

    def __init__(self, deadline_ns: int | None = None, *, waits_for_room: bool = False) -> None:
        super().__init__(b"pixels", "peer", time.monotonic_ns(), deadline_ns)
        self.answers: queue.SimpleQueue[tuple[Status, float]] = queue.SimpleQueue()
        self._waits_for_room = waits_for_room

    @property
    def waits_for_room(self) -> bool:
        return self._waits_for_room

    def reply(self, payload: bytes) -> None:
        raise AssertionError("it is refused")

    def fail(self, status: Status) -> None:
        self.answers.put((status, time.monotonic()))


def test_a_call_is_answered_once_its_time_has_come() -> None:
    refusals, call, began_s = LateRefusals(0.1), Refused(), time.monotonic()
    refusals.fail(call, REFUSED)
    assert call.payload == b""
    status, answered_s = call.answers.get(timeout=60)
    assert status is REFUSED
    assert answered_s - began_s > 0.04  # half of it, less what is answered together
    refusals.close()
    assert call.answers.empty()


def test_a_deadline_leaves_half_of_its_time_and_overtakes_others() -> None:
    refusals, patient = LateRefusals(LONG_S), Refused()
    refusals.fail(patient, REFUSED)
    began_s = time.monotonic()
    hurried = Refused(time.monotonic_ns() + 200_000_000)
    refusals.fail(hurried, REFUSED)
    assert hurried.answers.get(timeout=60)[1] - began_s > 0.05
    too_late = Refused(time.monotonic_ns())
    refusals.fail(too_late, REFUSED)
    assert not too_late.answers.empty()
    assert (len(refusals), patient.answers.empty()) == (1, True)
    refusals.close()
    assert not patient.answers.empty()


def test_what_is_held_is_bounded_and_answered_when_the_server_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late_refusals, "MAX_HELD", 2)
    refusals, calls = LateRefusals(LONG_S), [Refused() for _ in range(4)]
    for call in calls[:3]:
        refusals.fail(call, REFUSED)
    assert [call.answers.empty() for call in calls] == [True, True, False, True]
    refusals.close()
    refusals.fail(calls[3], REFUSED)
    assert [call.answers.qsize() for call in calls] == [1, 1, 1, 1]


def test_only_limits_of_a_principal_are_answered_late_and_only_where_nobody_tries_again() -> None:
    refusals = LateRefusals(LONG_S)
    limited = Overloaded("too many of yours", principal="nightly", fail_late=refusals.fail)
    of_limits, of_the_server, of_a_stream = Refused(), Refused(), Refused(waits_for_room=True)
    late_refusals.fail(of_limits, limited, REFUSED)
    late_refusals.fail(of_the_server, Overloaded("too many of all"), REFUSED)
    late_refusals.fail(of_a_stream, limited, REFUSED)
    assert [call.answers.empty() for call in (of_limits, of_the_server, of_a_stream)] == [True, False, False]
    refusals.close()
