"""What becomes of requests with deadlines. Every batch of these models takes `run_ms`, whatever its size."""

from __future__ import annotations

import contextlib
import threading

import pytest
from tests.server.fakes import MS, FakeModel, in_ms, make_request, marks, put, take

from covey_server.batching.batch import Batch
from covey_server.batching.batcher import Batcher
from covey_server.errors import DeadlineTooShort, Expired, Overloaded
from covey_server.inference.cost import CostModel


def test_what_cannot_be_computed_in_time_even_by_an_idle_server_is_refused_at_once() -> None:
    batcher, model = Batcher(), FakeModel(run_ms=50)
    with pytest.raises(
        DeadlineTooShort, match=r"computing 1 image\(s\) takes about 50.0 ms here, and the deadline is"
    ) as caught:
        batcher.put(make_request(model, deadline_ns=in_ms(20)))
    assert (batcher.waiting_images(), caught.value.refused_for) == ({}, "deadline")


def test_what_comes_after_its_deadline_is_told_so() -> None:
    batcher, model = Batcher(), FakeModel()
    with pytest.raises(
        Expired, match=r"the deadline passed \d+\.\d ms before the images were queued; allow more time"
    ) as caught:
        batcher.put(make_request(model, deadline_ns=in_ms(-5)))
    assert (batcher.waiting_images(), caught.value.refused_for) == ({}, "deadline")


def test_what_waits_too_long_behind_others_is_refused_at_once_with_a_hint() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=2, run_ms=100)
    first = [make_request(model, mark, deadline_ns=in_ms(10_000)) for mark in range(8)]
    put(batcher, *first)
    for request in first:
        request.deadline_ns = in_ms(200)  # so that none of them has more time
    with pytest.raises(
        Overloaded, match=r"about 687.5 ms \(8 images wait before it\), and the deadline is \d+"
    ) as caught:
        batcher.put(make_request(model, deadline_ns=in_ms(300)))
    assert caught.value.retry_after_ms is not None
    # 50 ms of the batch that runs, 4 x 100 ms of waiting, 100 ms of its own, all that with caution x 1.25; - 300 ms
    assert 380 < caught.value.retry_after_ms < 400
    assert batcher.waiting_images() == {model: 8}


def test_caution_grows_with_late_answers_and_falls_while_there_are_none() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=1, run_ms=100)

    def admits(allowed_ms: float) -> bool:
        """Whether a request is let in that shares the server with the rest of one batch."""
        try:
            batcher.put(make_request(model, deadline_ns=in_ms(allowed_ms)))
        except Overloaded:
            return False
        take(batcher)
        return True

    assert (admits(185), admits(200)) == (False, True)  # 1.25 x 150 ms
    put(batcher, make_request(model, deadline_ns=in_ms(10_000)))
    batch = take(batcher)
    deadline_ns = batch.parts[0].request.deadline_ns
    assert deadline_ns is not None
    for _ in range(5):
        batcher.learn(batch, deadline_ns + 1)
    assert (admits(230), admits(250)) == (False, True)  # 1.6 x 150 ms
    for _ in range(5000):
        batcher.learn(batch, batch.parts[0].request.arrived_ns)
    assert (admits(160), admits(170)) == (False, True)  # never below 1.1 x 150 ms


def test_an_answer_just_before_its_deadline_is_late_since_it_has_to_get_to_its_caller() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=1, run_ms=100)
    put(batcher, request := make_request(model, deadline_ns=in_ms(10_000)))
    batch = take(batcher)
    request.deadline_ns = request.arrived_ns + 3200 * MS  # a 32nd of it is for the way back
    for _ in range(100):
        batcher.learn(batch, request.deadline_ns - 101 * MS)
    batcher.put(make_request(model, deadline_ns=in_ms(200)))  # in time, so no more caution: 1.25 x 150 ms
    take(batcher)
    for _ in range(100):
        batcher.learn(batch, request.deadline_ns - 99 * MS)
    with pytest.raises(Overloaded):
        batcher.put(make_request(model, deadline_ns=in_ms(400)))  # 3.0 x 150 ms


def test_a_large_request_is_computed_by_all_workers_at_once() -> None:
    batcher, model = Batcher(workers=4), FakeModel(best_batch_size=2, run_ms=1000)
    # 4 batches at once, after an eighth of one and a turn: 1.25 x (125 + 1000) ms
    put(batcher, make_request(model, count=8, deadline_ns=in_ms(3000)))


def test_an_idle_worker_begins_at_once_whatever_waits_of_other_models() -> None:
    batcher, slow, quick = Batcher(), FakeModel(best_batch_size=1, run_ms=10_000), FakeModel(run_ms=0.05)
    worker = threading.Thread(target=batcher.take, daemon=True)
    worker.start()
    while not batcher.idle_workers:
        pass
    put(batcher, make_request(slow), make_request(quick, deadline_ns=in_ms(5000)))
    batcher.close()  # ends the worker
    worker.join(10)
    assert not worker.is_alive()


def test_an_idle_server_takes_what_its_predictions_would_refuse_and_so_learns() -> None:
    batcher, model = Batcher(workers=1), FakeModel(best_batch_size=1, run_ms=10)
    for _ in range(200):
        model.cost.observe(1, 1000 * MS)
    assert model.cost.predict(1) > 500 * MS
    taken: list[Batch | None] = []
    worker = threading.Thread(target=lambda: taken.append(batcher.take()))
    worker.start()
    while not batcher.idle_workers:
        pass
    batcher.put(make_request(model, deadline_ns=in_ms(100)))
    batcher.take_short(0)  # wakes the worker
    worker.join(10)
    assert [batch.size for batch in taken if batch] == [1]


def test_two_workers_halve_the_waiting() -> None:
    batcher, model = Batcher(workers=2), FakeModel(best_batch_size=2, run_ms=100)
    put(batcher, *(make_request(model, mark) for mark in range(8)))
    assert batcher.backlog_ms() == pytest.approx(200)
    batcher.put(make_request(model, deadline_ns=in_ms(450)))


def test_a_short_deadline_goes_before_those_with_more_time_and_only_if_it_must() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=2, run_ms=100)
    put(batcher, *(make_request(model, mark, deadline_ns=in_ms(100_000)) for mark in range(6)))
    put(batcher, make_request(model, 20, deadline_ns=in_ms(1000)))  # makes it at the end
    put(batcher, make_request(model, 10, deadline_ns=in_ms(200)))  # does not
    assert [marks(take(batcher)) for _ in range(4)] == [[10, 0], [1, 2], [3, 4], [5, 20]]


def test_nobody_is_overtaken_by_those_with_as_much_time() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=2, run_ms=100)
    deadline_ns = in_ms(330)
    let_in = 0
    for mark in range(20):
        with contextlib.suppress(Overloaded):
            batcher.put(make_request(model, mark, deadline_ns=deadline_ns + mark))
            let_in += 1
    assert 2 <= let_in <= 5
    assert [mark for _ in range((let_in + 1) // 2) for mark in marks(take(batcher))] == list(range(let_in))


def test_who_has_waited_long_is_overtaken_by_nobody() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=1, run_ms=100)
    patient = [make_request(model, mark) for mark in range(3)]
    put(batcher, *patient)
    for request in patient:
        request.queued_ns -= 600 * MS
    with pytest.raises(Overloaded):
        batcher.put(make_request(model, 9, deadline_ns=in_ms(150)))


def test_a_split_request_is_finished_before_others_however_short_their_deadlines() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=2, run_ms=100)
    put(batcher, make_request(model, 0, 3), make_request(model, 10, 8))
    take(batcher)
    put(batcher, make_request(model, 30, deadline_ns=in_ms(190)))
    assert marks(take(batcher)) == [2, 30]


def test_a_batch_is_made_smaller_where_its_first_request_would_be_late() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=8)
    model.cost = CostModel({1: 10 * MS, 8: 80 * MS})
    model.cost.best_batch_size = 8
    urgent = make_request(model, 0, deadline_ns=in_ms(10_000))
    put(batcher, urgent, *(make_request(model, mark) for mark in range(1, 6)))
    urgent.deadline_ns = in_ms(35)
    batch = take(batcher)
    assert (marks(batch), batch.reason) == ([0, 1, 2], "deadline")
    assert marks(take(batcher)) == [3, 4, 5]


def test_the_first_request_is_told_where_no_batch_is_small_enough() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=4, run_ms=100)
    late = make_request(model, 0, deadline_ns=in_ms(10_000))
    put(batcher, late, make_request(model, 1))
    late.deadline_ns = in_ms(50)
    assert marks(take(batcher)) == [1]
    assert isinstance(late.error, Expired)
    assert "and computing takes about 100.0 ms" in str(late.error)


@pytest.mark.parametrize("alone_ms", [160, 400])
def test_under_overload_no_small_batch_is_made_for_one_that_comes_too_late(alone_ms: float) -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=8)
    model.cost = CostModel({1: alone_ms * MS, 8: 800 * MS})  # one alone costs more than 1.5 times as much per image
    model.cost.best_batch_size, model.cost.image_ns = 8, 100 * MS
    late = make_request(model, 0, deadline_ns=in_ms(100_000))
    put(batcher, late, *(make_request(model, mark) for mark in range(1, 12)))
    late.deadline_ns = in_ms(alone_ms + 90)  # too little for two
    assert marks(take(batcher)) == list(range(1, 9))
    assert isinstance(late.error, Expired)


def test_of_a_split_request_only_what_is_left_has_to_be_computed_in_time() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=8)
    model.cost = CostModel({1: 10 * MS, 8: 80_000 * MS})
    model.cost.best_batch_size = 8
    large = make_request(model, 0, 9)
    put(batcher, large)
    take(batcher)
    put(batcher, *(make_request(model, mark) for mark in range(20, 27)))
    large.deadline_ns = in_ms(5000)
    assert marks(take(batcher)) == [8]
    assert large.error is None


def test_other_models_turns_count_as_waiting() -> None:
    batcher, slow, quick = Batcher(), FakeModel(best_batch_size=1, run_ms=400), FakeModel(best_batch_size=1, run_ms=10)
    put(batcher, make_request(slow), make_request(quick))
    with pytest.raises(Overloaded, match=r"about 1031.2 ms"):
        batcher.put(make_request(quick, deadline_ns=in_ms(200)))


def test_another_models_full_batch_counts_where_nothing_of_its_own_waits() -> None:
    batcher, slow, quick = Batcher(), FakeModel(best_batch_size=8, run_ms=2000), FakeModel(run_ms=0.05)
    put(batcher, make_request(slow, count=8))
    with pytest.raises(Overloaded, match=r"\(0 images wait before it\), and the deadline is \d+"):
        batcher.put(make_request(quick, deadline_ns=in_ms(1000)))
    put(batcher, make_request(slow, deadline_ns=in_ms(100_000)), make_request(quick, deadline_ns=in_ms(100_000)))
