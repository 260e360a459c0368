"""Batches through real worker threads, held back by a gate where order matters."""

from __future__ import annotations

import queue
import random
import threading
import time
import weakref
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.server.fakes import FakeModel, FakeRequest, in_ms, make_request

from covey_server.batching.batch import Batch
from covey_server.batching.batcher import Batcher
from covey_server.batching.output import Output
from covey_server.batching.request import Buffer, Request
from covey_server.batching.worker import Workers
from covey_server.errors import EngineFailed, Overloaded


class Tally:
    """Counts what the workers tell it."""

    def __init__(self) -> None:
        self.answered = 0

    def note_batch(self, batch: Batch, output: Output, answered: Sequence[Request]) -> None:
        self.answered += len(answered)

    def count_noted(self) -> None:
        pass


def start(batcher: Batcher, count: int = 1, tally: Tally | None = None) -> Workers:
    workers = Workers(batcher, count, tally or Tally())
    workers.start()
    return workers


def test_a_lone_request_starts_at_once_and_the_rest_gathers() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=8)
    model.gated = True
    workers = start(batcher)
    requests = [make_request(model, mark) for mark in range(6)]
    batcher.put(requests[0])
    workers.dispatch()
    model.started.acquire()  # it runs, alone, without waiting for company
    for request in requests[1:]:
        batcher.put(request)
    for _ in range(2):
        model.gate.release()
    assert all(request.answered.wait(10) for request in requests)
    assert model.batches == [[0], [1, 2, 3, 4, 5]]
    assert all(request.got_its_own() for request in requests)
    batcher.close()
    assert workers.join(10)


def test_a_failure_that_does_not_come_again_fails_nobody() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=2)
    model.failures = [EngineFailed("once")]
    requests = [make_request(model, mark) for mark in range(4)]
    for request in requests:
        batcher.put(request)
    workers = start(batcher)
    assert all(request.answered.wait(10) for request in requests)
    assert all(request.got_its_own() for request in requests)
    batcher.close()
    assert workers.join(10)


def test_a_split_request_of_which_one_part_fails_is_answered_once() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=2)
    model.failures = [EngineFailed("broken")]
    whole, other = make_request(model, 0, 5), make_request(model, 9)
    batcher.put(whole)
    batcher.put(other)
    workers = start(batcher)
    assert whole.answered.wait(10)
    assert other.answered.wait(10)
    batcher.close()
    assert workers.join(10)
    assert isinstance(whole.error, EngineFailed)
    assert not whole.answers
    assert other.got_its_own()


def test_the_rows_of_a_split_request_are_written_batch_by_batch() -> None:
    written: list[int] = []

    class Caller(FakeRequest):
        def write_rows(self, output: Output, first: int, count: int) -> list[bytes]:
            written.append(count)
            return super().write_rows(output, first, count)

    batcher, model = Batcher(), FakeModel(best_batch_size=8)
    images = np.random.default_rng(2).integers(0, 256, (20, *model.input_shape), dtype=np.uint8)
    request = Caller(model, images)
    batcher.put(request)
    batcher.close()
    assert start(batcher).join(10)
    assert request.got_its_own()
    assert written == [8, 8, 4]


def test_a_part_of_which_nothing_can_be_said_fails_its_request_and_no_other() -> None:
    class Caller(FakeRequest):
        def write_rows(self, output: Output, first: int, count: int) -> list[bytes]:
            raise EngineFailed(f"not finite: {count}")

    batcher, model = Batcher(), FakeModel(best_batch_size=8)
    request, other = Caller(model, np.zeros((20, *model.input_shape), np.uint8)), make_request(model, 5)
    batcher.put(request)
    batcher.put(other)
    batcher.close()
    assert start(batcher).join(10)
    assert other.got_its_own()
    assert str(request.error).startswith("not finite: ")
    assert not request.answers


def test_an_unknown_exception_is_hidden_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    batcher, model = Batcher(), FakeModel()
    model.failures = [RuntimeError("secret path")]
    request = make_request(model)
    batcher.put(request)
    workers = start(batcher)
    assert request.answered.wait(10)
    batcher.close()
    assert workers.join(10)
    assert isinstance(request.error, EngineFailed)
    assert "secret" not in str(request.error)
    assert "secret path" in caplog.text


def test_metrics_are_counted_before_the_answer_leaves() -> None:
    tally = Tally()
    counted_at_answer: list[int] = []

    class Caller(FakeRequest):
        def succeed(self, rows: Sequence[Buffer]) -> None:
            counted_at_answer.append(tally.answered)
            super().succeed(rows)

    batcher, model = Batcher(), FakeModel()
    request = Caller(model, np.zeros((1, *model.input_shape), np.uint8))
    batcher.put(request)
    batcher.close()
    assert start(batcher, tally=tally).join(10)
    assert request.got_its_own()
    assert counted_at_answer == [1]


def test_an_answer_that_cannot_be_given_costs_nobody_else_theirs(caplog: pytest.LogCaptureFixture) -> None:
    class Caller(FakeRequest):
        def succeed(self, rows: Sequence[Buffer]) -> None:
            raise RuntimeError("the front is broken")

    batcher, model = Batcher(), FakeModel(best_batch_size=4)
    broken, other, later = Caller(model, make_request(model).images), make_request(model, 7), make_request(model, 9)
    batcher.put(broken)
    batcher.put(other)
    workers = start(batcher)
    assert other.answered.wait(10)
    batcher.put(later)
    workers.dispatch()
    assert later.answered.wait(10)
    batcher.close()
    assert workers.join(10)
    assert model.batches[0] == [0, 7]
    assert other.got_its_own()
    assert later.got_its_own()
    assert "an answer was not given; this is a bug" in caplog.text


def test_workers_learn_what_runs_and_their_answers_take() -> None:
    class Slow(FakeRequest):
        def succeed(self, rows: Sequence[Buffer]) -> None:
            time.sleep(0.005)  # of work: writing it
            super().succeed(rows)

    batcher, quick, slow = Batcher(), FakeModel(1, run_ms=1000), FakeModel(1, run_ms=1)
    requests = [make_request(quick) for _ in range(30)] + [Slow(slow, make_request(slow).images) for _ in range(30)]
    for request in requests:
        batcher.put(request)
    batcher.close()
    assert start(batcher).join(30)
    assert quick.cost.predict(1) < 600e6
    assert slow.cost.predict(1) > 1.5e6


def test_late_answers_make_the_batcher_cautious() -> None:
    batcher, model, other = Batcher(), FakeModel(best_batch_size=1), FakeModel(best_batch_size=1, run_ms=1000)
    workers = start(batcher)
    for _ in range(40):
        batcher.put(request := make_request(model, deadline_ns=in_ms(100_000)))
        request.arrived_ns = in_ms(-100_000 * 32)  # a 32nd of its time is for the way back: late, whenever it comes
        workers.dispatch()
        assert request.answered.wait(10)
    model.gated = True
    batcher.put(make_request(model))
    workers.dispatch()
    for _ in range(41):
        assert model.started.acquire(timeout=10)
    with pytest.raises(Overloaded):  # 3.0 x 1500 ms; without late answers 1.25 x 1500
        batcher.put(make_request(other, deadline_ns=in_ms(2500)))
    model.gate.release()
    batcher.close()
    assert workers.join(10)


def test_a_split_request_that_failed_takes_no_part_that_comes_later() -> None:
    model = FakeModel(best_batch_size=2)
    request = make_request(model, count=4)
    request.split()
    assert request.abandon()
    assert not request.join(2, Output(np.zeros((2, 4), np.float32)), 0, 2)
    assert not request.abandon()
    assert not request.answered.is_set()


def test_a_short_batch_runs_on_the_thread_that_brought_it() -> None:
    batcher, model = Batcher(), FakeModel(run_ms=0.5)
    request = make_request(model, 3)
    workers = Workers(batcher, 1, Tally(), inline_us=1000)  # not started: nobody else could run it
    batcher.put(request)
    workers.dispatch()
    assert request.got_its_own()


def test_what_the_bringing_thread_has_no_time_for_goes_to_the_workers() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=2, run_ms=0.6)
    requests = [make_request(model, mark) for mark in range(6)]
    workers = Workers(batcher, 1, Tally(), inline_us=1000)
    for request in requests:
        batcher.put(request)
    workers.dispatch()
    assert [request.answered.is_set() for request in requests] == [True, True, False, False, False, False]
    workers.start()
    assert all(request.answered.wait(10) for request in requests)
    batcher.close()
    assert workers.join(10)


def test_an_inline_batch_that_fails_is_answered_too() -> None:
    batcher, model = Batcher(), FakeModel(run_ms=0.5)
    model.failures = [EngineFailed("broken")]
    request = make_request(model)
    batcher.put(request)
    Workers(batcher, 1, Tally(), inline_us=1000).dispatch()
    assert isinstance(request.error, EngineFailed)


def test_an_engine_that_hangs_is_reported_and_its_callers_are_told() -> None:
    batcher, hanging, well = Batcher(workers=2), FakeModel(), FakeModel()
    hanging.gated = True
    states: queue.SimpleQueue[bool] = queue.SimpleQueue()
    # In real time, since that is what it bounds: long enough for the other model's batch on a busy machine.
    workers = Workers(batcher, 2, Tally(), timeout_s=1.0, on_stuck=states.put)
    workers.start()
    stuck, other = make_request(hanging, 1), make_request(well, 2)
    batcher.put(stuck)
    workers.dispatch()
    assert stuck.answered.wait(10)
    assert isinstance(stuck.error, EngineFailed)
    assert "has not answered a batch of 1 images within 1 s" in str(stuck.error)
    assert states.get(timeout=10) is True
    batcher.put(other)
    workers.dispatch()
    assert other.answered.wait(10)  # the other worker goes on
    hanging.gate.release()
    assert states.get(timeout=10) is False
    batcher.close()
    assert workers.join(10)
    assert not stuck.answers  # the late answer is nobody's
    assert other.got_its_own()


def test_one_worker_and_a_reserve_share_what_waits() -> None:
    batcher, model = Batcher(1, reserves=1), FakeModel(best_batch_size=2)
    model.gated = True
    workers = Workers(batcher, 1, Tally(), reserves=1)
    workers.start()
    requests = [make_request(model, mark) for mark in range(4)]
    batcher.put(requests[0])
    workers.dispatch()
    model.started.acquire()  # the worker runs it
    batcher.put(requests[1])
    workers.dispatch()
    assert not model.started.acquire(timeout=0.05)  # not worth the other core
    batcher.put(requests[2])
    workers.dispatch()
    assert model.started.acquire(timeout=10)  # a full batch is
    batcher.put(requests[3])
    workers.dispatch()
    for _ in range(3):
        model.gate.release()
    assert all(request.answered.wait(10) for request in requests)
    assert model.batches == [[0], [1, 2], [3]]
    batcher.close()
    assert workers.join(10)


def test_nothing_of_a_batch_outlives_it_while_the_thread_waits() -> None:
    batcher, model = Batcher(), FakeModel()
    gone = weakref.ref(model)
    request = make_request(model)
    workers = start(batcher)
    batcher.put(request)
    workers.dispatch()
    assert request.answered.wait(10)
    del request, model
    other = make_request(FakeModel())  # answered by the same thread: it is done with the first then
    batcher.put(other)
    workers.dispatch()
    assert other.answered.wait(10)
    assert gone() is None
    batcher.close()
    assert workers.join(10)


@settings(max_examples=150, deadline=None)
@given(
    counts=st.lists(st.integers(1, 9), min_size=1, max_size=40),
    best_batch_size=st.integers(1, 8),
    workers=st.integers(1, 3),
    reserves=st.integers(0, 2),
    inline=st.booleans(),
    cancelled=st.sets(st.integers(0, 39)),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_caller_gets_its_own_rows(
    counts: list[int], best_batch_size: int, workers: int, reserves: int, inline: bool, cancelled: set[int], seed: int
) -> None:
    batcher, chance = Batcher(workers, reserves), random.Random(seed)
    models = [FakeModel(best_batch_size), FakeModel(best_batch_size)]
    requests = [make_request(chance.choice(models), chance.randrange(240), count) for count in counts]
    running = Workers(batcher, workers, Tally(), reserves=reserves, inline_us=5_000 if inline else 0)
    running.start()

    def put(places: range) -> None:
        for place in places:
            batcher.put(requests[place])
            if place in cancelled:
                requests[place].cancel()
            if chance.random() < 0.5:
                running.dispatch()
        running.dispatch()

    callers = [threading.Thread(target=put, args=(range(offset, len(requests), 3),)) for offset in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    batcher.close()
    assert running.join(20)
    for place, request in enumerate(requests):
        if request.error is None:
            assert request.got_its_own()
            assert request.queued_ns <= request.started_ns <= request.computed_ns
        else:
            assert place in cancelled
    assert all(1 <= len(batch) <= best_batch_size for model in models for batch in model.batches)
