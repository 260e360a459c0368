"""What is let in, what is refused, who gets how much, and when the server is empty."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from covey_server.batching.admission import Admission
from covey_server.errors import Overloaded, RequestTooLarge, Stopping


def test_bounds_calls_and_bytes() -> None:
    admission = Admission(max_calls=2, max_bytes=100, max_message_bytes=80)
    admission.enter(60, "a")
    with pytest.raises(Overloaded, match="60 bytes are waiting already and 41 more") as of_bytes:
        admission.enter(41, "b")
    admission.enter(40, "b")
    with pytest.raises(Overloaded, match="2 calls are waiting already") as of_calls:
        admission.enter(0, "c")
    admission.leave(60, "a")
    admission.enter(60, "a")
    assert (admission.calls, admission.bytes) == (2, 100)
    assert (of_bytes.value.refused_for, of_calls.value.refused_for) == ("bytes", "calls")


def test_refuses_a_large_message_whatever_the_load() -> None:
    admission = Admission(max_calls=2, max_bytes=100, max_message_bytes=80)
    with pytest.raises(RequestTooLarge, match="81 bytes, at most 80") as caught:
        admission.enter(81, "a")
    assert caught.value.refused_for == "message_size"


def test_lets_a_lone_message_in_that_is_larger_than_all_bytes() -> None:
    admission = Admission(max_calls=2, max_bytes=10, max_message_bytes=80)
    admission.enter(50, "a")
    assert admission.bytes == 50


def test_what_a_lone_call_becomes_may_be_larger_than_all_bytes_too() -> None:
    admission = Admission(max_calls=2, max_bytes=10, max_message_bytes=80)
    admission.enter(5, "a")
    admission.enter_decoding(1, 50, "a")
    admission.enter_answer(60, "a")
    assert admission.bytes == 5 + 50 + 60
    admission.leave_decoding(1, "a")
    admission.leave(115, "a")
    admission.enter(2, "a")
    admission.enter(1, "b")
    with pytest.raises(Overloaded, match="3 bytes are waiting already and 50 more"):
        admission.enter_decoding(1, 50, "b")
    with pytest.raises(Overloaded, match="3 bytes are waiting already and 60 more"):
        admission.enter_answer(60, "b")
    assert (admission.bytes, admission.decodes) == (3, 0)


def test_drains() -> None:
    admission = Admission(max_calls=2, max_bytes=10, max_message_bytes=80)
    admission.enter(1, "a")
    admission.close()
    with pytest.raises(Stopping) as caught:
        admission.enter(1, "a")
    assert caught.value.refused_for == "stopping"
    assert not admission.wait_until_empty(0)
    admission.leave(1, "a")
    assert admission.wait_until_empty(0)


def test_counts_what_decoding_will_add() -> None:
    admission = Admission(max_calls=2, max_bytes=100, max_message_bytes=80)
    admission.enter(5, "b")
    admission.enter(10, "a")
    admission.enter_decoding(1, 80, "a")
    assert admission.bytes == 95
    with pytest.raises(RequestTooLarge, match="decode to 81 bytes, at most 80") as of_size:
        admission.enter_decoding(1, 81, "a")
    with pytest.raises(Overloaded, match="95 bytes are waiting already and 6 more") as of_bytes:
        admission.enter_decoding(1, 6, "b")
    assert (of_size.value.refused_for, of_bytes.value.refused_for) == ("message_size", "bytes")


def test_what_a_caller_has_decoded_counts_for_its_share() -> None:
    admission = Admission(max_calls=100, max_bytes=150, max_message_bytes=80)
    admission.enter(5, "quiet")
    admission.enter(10, "flood")
    admission.enter_decoding(1, 60, "flood")
    admission.enter(10, "flood")
    with pytest.raises(Overloaded, match="80 bytes of this connection are waiting already; the 65 bytes that are"):
        admission.enter(1, "flood")
    admission.enter(1, "quiet")


def test_what_a_caller_has_got_answered_does_not_count_for_its_share() -> None:
    admission = Admission(max_calls=100, max_bytes=150, max_message_bytes=80)
    admission.enter(1, "a")
    for _ in range(10):
        admission.enter(70, "a")
        admission.leave(70, "a")
    for _ in range(10):
        admission.enter(60, "a")
        admission.enter_decoding(1, 10, "a")
        admission.leave_decoding(1, "a")
        admission.leave(70, "a")
    assert (admission.calls, admission.bytes, admission.decodes) == (1, 1, 0)


def test_a_large_answer_counts_for_its_callers_share_and_one_above_the_limit_is_refused() -> None:
    admission = Admission(max_calls=100, max_bytes=150, max_message_bytes=80, max_answer_bytes=70)
    admission.enter(5, "quiet")
    admission.enter(10, "a")
    with pytest.raises(
        RequestTooLarge, match="the answer would have up to 71 bytes, at most 70 are given here"
    ) as of_size:
        admission.enter_answer(71, "a")
    admission.enter_answer(70, "a")
    with pytest.raises(
        Overloaded, match="80 bytes of this connection are waiting already; the 65 bytes that are"
    ) as of_share:
        admission.enter(1, "a")
    admission.leave(80, "a")
    assert (of_size.value.refused_for, of_share.value.refused_for) == ("answer_size", "share")
    assert (admission.calls, admission.bytes) == (1, 5)


def test_nothing_is_kept_of_callers_who_are_gone() -> None:
    admission = Admission(max_calls=100, max_bytes=150, max_message_bytes=80)
    admission.enter(1, "stays")
    tracemalloc.start()
    try:
        for number in range(2_000):
            admission.enter(1, f"caller {number}")
            admission.leave(1, f"caller {number}", answer_bytes=number % 2)
            if number % 2:
                admission.written(1, f"caller {number}")
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept_bytes < 2_000 * 20


def test_bounds_images_to_decode_but_lets_one_large_call_in() -> None:
    admission = Admission(max_calls=9, max_bytes=10**6, max_message_bytes=10**6, max_decodes=8)
    for caller in "aab":
        admission.enter(1, caller)
    admission.enter_decoding(100, 1, "a")
    with pytest.raises(Overloaded, match="4 images wait to be decoded already and 6 more would pass the limit of 8"):
        admission.enter_decoding(6, 1, "a")
    admission.enter_decoding(4, 1, "b")
    with pytest.raises(Overloaded) as caught:
        admission.enter_decoding(1, 1, "b")
    admission.leave_decoding(100, "a")
    admission.enter_decoding(1, 1, "a")
    assert (admission.decodes, caught.value.refused_for) == (5, "decode")
    admission.leave_decoding(4, "b")
    admission.enter_decoding(6, 1, "a")  # a quarter is left free
    assert admission.decodes == 5


def test_a_large_call_takes_the_only_place_to_decode() -> None:
    admission = Admission(max_calls=9, max_bytes=10**6, max_message_bytes=10**6, max_decodes=1)
    admission.enter(1, "a")
    admission.enter_decoding(100, 1, "a")
    assert admission.decodes == 1


def test_a_caller_who_floods_with_images_leaves_places_for_others() -> None:
    admission = Admission(max_calls=100, max_bytes=10**6, max_message_bytes=10**6, max_decodes=8)
    for _ in range(6):
        admission.enter(1, "flood")
    for _ in range(5):
        admission.enter_decoding(1, 1, "flood")
    with pytest.raises(
        Overloaded, match="5 images of this connection are waiting already; the 3 places that are free"
    ) as caught:
        admission.enter_decoding(1, 1, "flood")
    assert caught.value.refused_for == "share"
    admission.enter(1, "quiet")
    admission.enter_decoding(3, 1, "quiet")
    admission.leave_decoding(3, "quiet")
    admission.leave_decoding(1, "flood")
    admission.enter_decoding(1, 1, "flood")
    assert admission.decodes == 5


def test_images_that_are_counted_out_after_their_call_leave_nothing_behind() -> None:
    """An explanation may be answered while the thread that decoded its image has not come as far."""
    admission = Admission(max_calls=100, max_bytes=10**6, max_message_bytes=10**6, max_decodes=1)
    for _ in range(3):
        admission.enter(1, "a")
        admission.enter_decoding(1, 1, "a")
        admission.leave(2, "a")
        admission.leave_decoding(1, "a")
    assert (admission.calls, admission.bytes, admission.decodes) == (0, 0, 0)


def test_a_caller_who_floods_leaves_room_for_others() -> None:
    admission = Admission(max_calls=100, max_bytes=10**6, max_message_bytes=80)
    for _ in range(51):
        admission.enter(1, "flood")
    with pytest.raises(
        Overloaded, match="51 calls of this connection are waiting already; the 49 places that are"
    ) as caught:
        admission.enter(1, "flood")
    for caller in ("quiet", "another", "third"):
        admission.enter(1, caller)
    assert caught.value.refused_for == "share"


def test_a_caller_who_floods_with_bytes_leaves_room_for_others() -> None:
    admission = Admission(max_calls=1000, max_bytes=1000, max_message_bytes=100)
    for _ in range(6):
        admission.enter(90, "flood")
    with pytest.raises(
        Overloaded, match="540 bytes of this connection are waiting already; the 460 bytes that are"
    ) as caught:
        admission.enter(90, "flood")
    admission.enter(100, "quiet")
    assert caught.value.refused_for == "share"


@given(steps=st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 50), st.booleans()), max_size=200))
def test_never_holds_more_than_its_limits_and_counts_to_zero(steps: list[tuple[str, int, bool]]) -> None:
    admission = Admission(max_calls=10, max_bytes=150, max_message_bytes=50)
    inside: list[tuple[str, int]] = []
    for caller, size_bytes, leaves in steps:
        if leaves and inside:
            who, held = inside.pop(0)
            admission.leave(held, who)
            continue
        try:
            admission.enter(size_bytes, caller)
            inside.append((caller, size_bytes))
        except Overloaded:
            assert inside
        assert (admission.calls, admission.bytes) == (len(inside), sum(each for _, each in inside))
        assert admission.calls <= 10
        assert admission.bytes <= 150
    for who, held in inside:
        admission.leave(held, who)
    assert (admission.calls, admission.bytes) == (0, 0)
    admission.enter(1, "a")


def _state(admission: Admission) -> object:
    held = {
        caller: (each.calls, each.bytes, each.answer_bytes, each.decodes) for caller, each in admission._held.items()
    }
    return admission.calls, admission.bytes, admission.answer_bytes, held


_CALLS = st.dictionaries(st.sampled_from("abc"), st.integers(1, 4), min_size=1)


@example(before={"c": 1}, calls={"a": 4, "b": 4}, size_bytes=10, answer_bytes=0)
@given(before=_CALLS, calls=_CALLS, size_bytes=st.integers(0, 12), answer_bytes=st.integers(0, 5))
def test_calls_that_enter_and_leave_together_count_as_one_by_one(
    before: dict[str, int], calls: dict[str, int], size_bytes: int, answer_bytes: int
) -> None:
    together, alone = (Admission(max_calls=16, max_bytes=100, max_message_bytes=10) for _ in range(2))
    for admission in (together, alone):
        for caller, number in before.items():
            for _ in range(min(number, 2)):
                admission.enter(1, caller)
    held_before = _state(together)
    if not together.enter_together(calls, size_bytes):
        assert _state(together) == held_before
        return
    for caller, number in calls.items():
        for _ in range(number):
            alone.enter(size_bytes, caller)  # none is refused of what has entered together
    assert _state(together) == _state(alone)
    together.leave_together(calls, size_bytes, dict.fromkeys(calls, answer_bytes))
    for caller, number in calls.items():
        for place in range(number):
            alone.leave(size_bytes, caller, 0 if place else answer_bytes)
    assert _state(together) == _state(alone)


def test_few_calls_enter_together() -> None:
    admission = Admission(max_calls=6, max_bytes=100, max_message_bytes=10)
    assert admission.enter_together({"a": 2, "b": 2}, 10)
    assert not admission.enter_together({"c": 3}, 1), "one more than there are places"
    assert admission.enter_together({"c": 2}, 1)


def test_the_last_calls_that_leave_together_leave_the_server_empty() -> None:
    admission = Admission(max_calls=6, max_bytes=100, max_message_bytes=10)
    assert admission.enter_together({"a": 2}, 1)
    admission.close()
    assert not admission.wait_until_empty(0)
    admission.leave_together({"a": 2}, 1, {})
    assert admission.wait_until_empty(0)


def test_images_that_are_decoded_once_more_are_counted_and_never_refused() -> None:
    admission = Admission(max_calls=10, max_bytes=1000, max_message_bytes=100, max_decodes=2)
    for caller in ("a", "b", "c"):
        admission.enter(1, caller)
    for caller in ("a", "b"):
        admission.enter_decoding(1, 10, caller)
    with pytest.raises(Overloaded):
        admission.enter_decoding(1, 10, "c")
    admission.enter_decoding_again(1, "c")
    assert (admission.decodes, admission.bytes) == (3, 23)
    for caller, size_bytes in (("a", 11), ("b", 11), ("c", 1)):
        admission.leave_decoding(1, caller)
        admission.leave(size_bytes, caller)
    assert (admission.decodes, admission.bytes, admission.calls) == (0, 0, 0)
