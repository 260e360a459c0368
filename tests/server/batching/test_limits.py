"""What principals may: each limit lets in exactly what it says, by a clock that the tests set."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey_server.batching.limits import OTHER, Allowances, Limits
from covey_server.calls.account import Allowance
from covey_server.calls.call import Call
from covey_server.calls.status import Status
from covey_server.errors import Overloaded

S = 1_000_000_000  # nanoseconds


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.ns = 5_000 * S

    def __call__(self) -> int:
        return self.ns

    def go_on(self, seconds: float) -> None:
        self.ns += round(seconds * S)


class Asked(Call):
    """A call of a principal."""

    def __init__(self, principal: str) -> None:
        super().__init__(b"", "peer", 0, None)
        self._principal = principal

    @property
    def principal(self) -> str:
        return self._principal

    def reply(self, payload: bytes) -> None:
        raise NotImplementedError

    def fail(self, status: Status) -> None:
        raise NotImplementedError


def limits_of(processes: int = 1, **allowance: Any) -> tuple[Limits, Clock]:
    """Limits of the table "camera", of two principals, and of nobody else."""
    clock = Clock()
    table_of = {"token:a": "camera", "token:b": "camera"}
    return Limits(Allowances({"camera": Allowance(**allowance)}, table_of), processes, clock), clock


def enter(limits: Limits, principal: str = "token:a", images: int = 1) -> Call | None:
    """The call, if it was let in."""
    call = Asked(principal)
    try:
        limits.enter(call)
    except Overloaded:
        return None
    try:
        limits.charge(call, images)
    except Overloaded:
        limits.give_back(call.account, 0)
        return None
    return call


def count(limits: Limits, tries: int, principal: str = "token:a", images: int = 1) -> int:
    """How many of so many calls are let in."""
    return sum(enter(limits, principal, images) is not None for _ in range(tries))


def refusal(limits: Limits, principal: str = "token:a") -> Overloaded:
    with pytest.raises(Overloaded) as caught:
        limits.enter(Asked(principal))
    return caught.value


@pytest.mark.parametrize("rate", [1, 3, 7, 100, 333.3])
def test_a_second_s_worth_of_requests_comes_at_once_and_then_each_in_its_time(rate: float) -> None:
    limits, clock = limits_of(requests_per_s=rate)
    assert count(limits, 500) == int(rate)
    clock.go_on(0.999 / rate)
    assert count(limits, 5) == (rate != int(rate))  # of 333.3, a part of one was left
    clock.go_on(10)
    assert count(limits, 500) == int(rate)


def test_who_sends_at_the_rate_is_never_refused_and_who_sends_more_gets_the_rate() -> None:
    limits, clock = limits_of(requests_per_s=50)
    for _ in range(500):
        assert count(limits, 1) == 1
        clock.go_on(1 / 50)
    limits, clock = limits_of(requests_per_s=50)
    let_in = 0
    for _ in range(1000):  # ten seconds of 100 a second
        let_in += count(limits, 1)
        clock.go_on(1 / 100)
    assert let_in == 50 + 10 * 50 - 1


def test_a_refusal_says_which_limit_it_was_and_when_to_come_back() -> None:
    limits, clock = limits_of(requests_per_s=4)
    assert count(limits, 4) == 4
    error = refusal(limits)
    assert str(error) == "'camera' may send 4 requests per second and has sent them; try again in 250 ms"
    assert (error.retry_after_ms, error.refused_for, error.principal) == (250, "requests_per_s", "camera")
    clock.go_on(0.25)
    assert count(limits, 2) == 1


def test_less_than_one_request_a_second() -> None:
    limits, clock = limits_of(requests_per_s=0.1)
    assert count(limits, 3) == 1
    assert refusal(limits).retry_after_ms == 10_000
    clock.go_on(9.9)
    assert count(limits, 3) == 0
    clock.go_on(0.1)
    assert count(limits, 3) == 1


def test_images_are_counted_and_refused_ones_are_not() -> None:
    limits, clock = limits_of(images_per_s=10)
    assert count(limits, 1, images=8) == 1
    assert count(limits, 1, images=3) == 0
    assert count(limits, 5, images=1) == 2
    call = Asked("token:a")
    limits.enter(call)
    with pytest.raises(
        Overloaded, match=r"'camera' may send 10 images per second, and 4 more would pass that; try .* 400"
    ) as caught:
        limits.charge(call, 4)
    assert (caught.value.refused_for, caught.value.retry_after_ms) == ("images_per_s", 400)
    clock.go_on(0.4)
    limits.charge(call, 4)
    assert call.charged_images == 4


def test_a_call_of_more_than_a_second_s_worth_is_let_in_where_nothing_is_owed_and_paid_for_afterwards() -> None:
    limits, clock = limits_of(images_per_s=10)
    assert count(limits, 1) == 1
    assert count(limits, 1, images=50) == 0
    clock.go_on(0.1)
    assert count(limits, 1, images=50) == 1
    clock.go_on(4.0)
    assert count(limits, 1) == 0
    clock.go_on(0.1)
    assert count(limits, 5) == 1


def test_calls_in_flight_are_those_that_are_not_answered() -> None:
    limits, _ = limits_of(in_flight=3)
    calls = [call for _ in range(5) if (call := enter(limits)) is not None]
    assert len(calls) == 3
    error = refusal(limits, "token:b")
    assert str(error).startswith("3 calls of 'camera' are unanswered, as many as it may have at once; wait for answers")
    assert (error.retry_after_ms, error.refused_for) == (None, "in_flight")
    limits.leave([calls[0].account, calls[1].account])
    assert count(limits, 5) == 2


def test_what_was_refused_after_all_counts_for_nothing() -> None:
    limits, _ = limits_of(requests_per_s=2, images_per_s=5, in_flight=1)
    for _ in range(20):
        call = enter(limits, images=5)
        assert call is not None
        limits.give_back(call.account, call.charged_images)
    assert count(limits, 5, images=5) == 1


def test_principals_of_one_table_share_it_and_each_other_one_has_its_own() -> None:
    clock = Clock()
    limits = Limits(
        Allowances({"camera": Allowance(requests_per_s=4)}, {"token:a": "camera", "token:b": "camera"}, Allowance(3)),
        clock_ns=clock,
    )
    assert [count(limits, 3, "token:a"), count(limits, 3, "token:b")] == [3, 1]
    assert [count(limits, 5, f"token:{name}") for name in "cde"] == [3, 3, 3]
    error = refusal(limits, "token:c")
    assert (error.principal, str(error).split(" may")[0]) == (OTHER, "this caller")
    assert limits.names == {"camera", OTHER}


def test_principals_without_a_table_are_forgotten_once_they_owe_nothing() -> None:
    clock = Clock()
    limits = Limits(Allowances(default=Allowance(requests_per_s=1)), clock_ns=clock)
    for number in range(20_000):
        call = enter(limits, f"certificate:CN={number}")
        assert call is not None
        limits.leave([call.account])
        clock.go_on(0.01)
    assert len(limits._others) <= 2_048
    assert enter(limits, "certificate:CN=19999") is None, "what is owed is remembered"


def test_a_new_file_holds_at_once_and_calls_in_flight_stay_counted() -> None:
    limits, clock = limits_of(requests_per_s=2, in_flight=3)
    assert count(limits, 5) == 2
    limits.replace(Allowances({"camera": Allowance(requests_per_s=100, in_flight=5)}, {"token:a": "camera"}))
    assert count(limits, 5) == 3
    assert count(limits, 5, "token:b") == 5, "it has no table any more, and [default] says nothing"
    clock.go_on(10)
    assert count(limits, 5) == 0
    same = Allowances({"camera": Allowance(requests_per_s=2)}, {"token:a": "camera"})
    limits.replace(same)
    assert count(limits, 5) == 2
    limits.replace(same)
    assert count(limits, 5) == 0, "the same limits give nothing new"
    limits.replace(Allowances())
    assert limits.names == {OTHER}
    assert count(limits, 50) == 50


def test_processes_divide_each_limit() -> None:
    limits, _ = limits_of(4, requests_per_s=20, in_flight=6)
    assert count(limits, 10) == 2  # 6 / 4, rounded up
    assert "as many as it may have at once (divided by 4 processes)" in str(refusal(limits))
    limits, clock = limits_of(4, requests_per_s=20)
    assert count(limits, 10) == 5
    clock.go_on(1)
    assert count(limits, 10) == 5
    assert "may send 20 requests per second (divided by 4 processes) and" in str(refusal(limits))


PRINCIPALS = st.sampled_from(["token:a", "token:b", "token:c", "", "token:bulk"])


@given(
    bursts=st.lists(
        st.tuples(st.lists(PRINCIPALS, min_size=1, max_size=6), st.integers(1, 9), st.sampled_from([0.0, 0.1, 0.7])),
        max_size=12,
    )
)
def test_calls_that_come_together_are_let_in_exactly_if_each_would_be(
    bursts: list[tuple[list[str], int, float]],
) -> None:
    camera, bulk = Allowance(7, 20, 9), Allowance(requests_per_s=5, priority="batch")
    allowances = Allowances(
        {"camera": camera, "bulk": bulk},
        {"token:a": "camera", "token:b": "camera", "token:bulk": "bulk"},
        Allowance(3, 11, 4),
    )
    clock = Clock()
    together, one_by_one = Limits(allowances, clock_ns=clock), Limits(allowances, clock_ns=clock)
    for principals, images, pause_s in bursts:
        accounts = together.enter_together(principals, images)
        calls = [enter(one_by_one, principal, images) for principal in principals]
        is_mixed = 0 < principals.count("token:bulk") < len(principals)
        assert (accounts is not None) == (None not in calls and not is_mixed)
        if accounts is None:  # then they go the ordinary way, with the same result
            assert [enter(together, each, images) is None for each in principals] == [call is None for call in calls]
        else:
            names = [call.account.name for call in calls if call is not None]
            assert [account.name for account in accounts] == names
        clock.go_on(pause_s)
