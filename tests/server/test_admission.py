"""What is let in, what is refused, and when the server is empty."""

from __future__ import annotations

import pytest

from covey_server.batching.admission import Admission
from covey_server.errors import Overloaded, RequestTooLarge, Stopping


def test_bounds_calls_and_bytes() -> None:
    admission = Admission(max_calls=2, max_bytes=100, max_message_bytes=80)
    admission.enter(60)
    with pytest.raises(Overloaded, match="60 bytes are waiting already and 41 more"):
        admission.enter(41)
    admission.enter(40)
    with pytest.raises(Overloaded, match="2 calls are waiting already"):
        admission.enter(0)
    admission.leave(60)
    admission.enter(60)
    assert (admission.calls, admission.bytes) == (2, 100)


def test_refuses_a_large_message_whatever_the_load() -> None:
    with pytest.raises(RequestTooLarge, match="81 bytes, at most 80"):
        Admission(max_calls=2, max_bytes=100, max_message_bytes=80).enter(81)


def test_lets_a_lone_message_in_that_is_larger_than_all_bytes() -> None:
    admission = Admission(max_calls=2, max_bytes=10, max_message_bytes=80)
    admission.enter(50)
    assert admission.bytes == 50


def test_drains() -> None:
    admission = Admission(max_calls=2, max_bytes=10, max_message_bytes=80)
    admission.enter(1)
    admission.close()
    with pytest.raises(Stopping):
        admission.enter(1)
    assert not admission.wait_until_empty(0)
    admission.leave(1)
    assert admission.wait_until_empty(0)


def test_counts_what_decoding_will_add() -> None:
    admission = Admission(max_calls=2, max_bytes=100, max_message_bytes=80)
    admission.enter(10)
    admission.grow(80)
    assert admission.bytes == 90
    with pytest.raises(RequestTooLarge, match="decode to 81 bytes, at most 80"):
        admission.grow(81)
    admission.enter(5)
    with pytest.raises(Overloaded, match="95 bytes are waiting already and 6 more"):
        admission.grow(6)
