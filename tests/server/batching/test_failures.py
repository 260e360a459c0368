"""A model that fails for some inputs: who is told, what it costs, and what the log says."""

from __future__ import annotations

import random
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.server.batching.test_worker import Tally, start
from tests.server.fakes import FakeModel, FakeRequest, in_ms, make_request, marks, put, take

from covey_server.batching.batcher import Batcher
from covey_server.batching.failures import Failures
from covey_server.batching.reruns import Search
from covey_server.batching.suspects import MAX_SUSPECTS, QUARANTINE_S, Suspects
from covey_server.batching.worker import Workers
from covey_server.errors import Cancelled, EngineFailed, Expired


def run_all(batcher: Batcher, workers: int = 1) -> None:
    """Runs what waits, and what that leads to."""
    batcher.close()
    assert start(batcher, workers).join(20)


def test_only_the_request_that_breaks_the_model_fails() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=64)
    model.guilty = {17}
    requests = [make_request(model, mark, caller=f"caller {mark}") for mark in range(64)]
    put(batcher, *requests)
    run_all(batcher)
    assert isinstance(requests[17].error, EngineFailed)
    assert all(request.got_its_own() for request in requests if request is not requests[17])
    assert sum(len(batch) for batch in model.batches) == 64 + 126  # all of it, and two halves for each half that fails
    assert len(model.batches) == 13


@settings(max_examples=200, deadline=None)
@given(
    counts=st.lists(st.integers(1, 9), min_size=1, max_size=40),
    best_batch_size=st.integers(1, 16),
    workers=st.integers(1, 3),
    inline=st.booleans(),
    guilty=st.sets(st.integers(0, 39)),
    callers=st.integers(1, 8),
    seed=st.integers(0, 2**32 - 1),
)
def test_whatever_is_batched_exactly_the_guilty_fail(
    counts: list[int], best_batch_size: int, workers: int, inline: bool, guilty: set[int], callers: int, seed: int
) -> None:
    chance = random.Random(seed)
    batcher, model = Batcher(workers), FakeModel(best_batch_size)
    model.guilty = {255}
    requests = [
        make_request(model, chance.randrange(240), count, caller=str(chance.randrange(callers))) for count in counts
    ]
    for place in guilty & set(range(len(requests))):
        request = requests[place]
        request.images[chance.randrange(request.count), 0, 0, 0] = 255
        request.rows = request.images.tobytes()
    running = Workers(batcher, workers, Tally(), inline_us=5_000 if inline else 0)
    running.start()

    def bring(places: range) -> None:
        for place in places:
            batcher.put(requests[place])
            if chance.random() < 0.5:
                running.dispatch()
        running.dispatch()

    threads = [threading.Thread(target=bring, args=(range(offset, len(requests), 3),)) for offset in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(request.answered.wait(20) for request in requests)
    batcher.close()
    assert running.join(20)
    for place, request in enumerate(requests):
        assert isinstance(request.error, EngineFailed) if place in guilty else request.got_its_own()


def test_a_part_that_fails_fails_its_whole_request_once_and_no_neighbour() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=4)
    model.guilty = {105}
    bulk, before, behind = make_request(model, 100, 11), make_request(model, 0), make_request(model, 50)
    put(batcher, before, bulk, behind)
    run_all(batcher)
    assert isinstance(bulk.error, EngineFailed)
    assert not bulk.answers
    assert before.got_its_own()
    assert behind.got_its_own()


def test_who_waits_for_a_rerun_in_vain_is_told_so() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=4)
    late, gone, bulk, well = (make_request(model, mark, count) for mark, count in ((0, 1), (1, 1), (10, 3), (3, 1)))
    late.deadline_ns = in_ms(10**6)
    put(batcher, late, gone, well)
    failures = Failures(batcher)
    batch = take(batcher)
    assert failures.failed(batch, EngineFailed("broken"), on_worker=True)[0] == []
    assert batcher.waiting_images() == {model: 3}
    late.deadline_ns = in_ms(-1)
    gone.cancel()
    assert marks(take(batcher)) == [3]
    assert isinstance(late.error, Expired)
    assert isinstance(gone.error, Cancelled)
    assert bulk.error is None
    assert batcher.waiting_images() == {}


def test_parts_of_a_request_that_was_given_up_do_not_run_again() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=4)
    bulk, other = make_request(model, 0, 6), make_request(model, 20)
    put(batcher, bulk, other)
    first, second = take(batcher), take(batcher)
    assert marks(second) == [4, 5, 20]
    failures = Failures(batcher)
    assert failures.failed(second, EngineFailed("broken"), on_worker=True)[0] == []
    assert failures.failed(first, EngineFailed("broken"), on_worker=True)[0] == [bulk]
    assert marks(take(batcher)) == [20]
    assert batcher.waiting_images() == {}


def test_reruns_are_for_workers_not_for_the_thread_that_brings_requests() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=4, run_ms=0.5)
    model.guilty = {1}
    requests = [make_request(model, mark) for mark in range(3)]
    workers = Workers(batcher, 1, Tally(), inline_us=100_000)
    put(batcher, *requests)
    workers.dispatch()
    assert model.batches == [[0, 1, 2]]
    assert batcher.waiting_images() == {model: 3}
    workers.start()
    assert all(request.answered.wait(10) for request in requests)
    assert [type(request.error) for request in requests] == [type(None), EngineFailed, type(None)]
    batcher.close()
    assert workers.join(10)


def test_a_caller_who_broke_a_batch_shares_none_for_a_while() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=8)
    model.guilty = {200}
    workers = start(batcher)
    first = [make_request(model, 200, caller="bad"), *(make_request(model, mark, caller="good") for mark in range(5))]
    with_lock_held(batcher, workers, first)
    seen = len(model.batches)
    second = [make_request(model, 200, caller="bad"), *(make_request(model, mark, caller="good") for mark in range(5))]
    with_lock_held(batcher, workers, second)
    assert isinstance(second[0].error, EngineFailed)
    assert all(request.got_its_own() for request in second[1:])
    assert sorted(model.batches[seen:]) == [[0, 1, 2, 3, 4], [200]]  # nothing ran twice
    batcher.close()
    assert workers.join(10)


def with_lock_held(batcher: Batcher, workers: Workers, requests: list[FakeRequest]) -> None:
    """Queues requests together, so that they share a batch, and waits for their answers."""
    put(batcher, *requests)
    workers.dispatch()
    assert all(request.answered.wait(10) for request in requests)


def test_suspects_are_forgotten_after_a_time_and_bounded() -> None:
    now_ns = 0
    suspects = Suspects(lambda: now_ns)
    suspects.add("a")
    now_ns = int(QUARANTINE_S * 0.5e9)
    suspects.add("b")
    now_ns = int(QUARANTINE_S * 1.2e9)
    suspects.forget()
    assert ("a" in suspects, "b" in suspects) == (False, True)
    now_ns = int(QUARANTINE_S * 1.6e9)
    suspects.forget()
    assert not suspects
    for number in range(MAX_SUSPECTS + 5):
        suspects.add(str(number))
    assert len(suspects) == MAX_SUSPECTS
    assert "4" not in suspects


class OnTrial(FakeRequest):
    """A request that another version answers if this one fails."""

    __slots__ = ()

    @property
    def is_on_trial(self) -> bool:
        return True


@pytest.mark.parametrize(("kind", "suspected"), [(FakeRequest, True), (OnTrial, False)])
def test_what_fails_on_trial_makes_no_suspect(kind: type[FakeRequest], suspected: bool) -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=4)
    model.guilty = {1}
    requests = [kind(model, make_request(model, mark).images, caller=f"caller {mark}") for mark in (0, 1, 2)]
    put(batcher, *requests)
    run_all(batcher)
    assert isinstance(requests[1].error, EngineFailed)
    assert ("caller 1" in batcher._suspects) is suspected


class OnTrialOnce(FakeRequest):
    """As a call on a canary: once it has failed, another version has it."""

    __slots__ = ()

    @property
    def is_on_trial(self) -> bool:
        return self.error is None


def test_nor_does_the_other_part_of_a_request_that_failed_on_trial() -> None:
    """Both parts ran with others, whose requests are good, then alone at the same time, and both fail."""
    batcher, model = Batcher(), FakeModel(best_batch_size=2)
    images = np.zeros((4, *model.input_shape), np.uint8)
    request = OnTrialOnce(model, images, caller="caller")
    put(batcher, request)
    failures = Failures(batcher)
    batches = [take(batcher), take(batcher)]
    for batch in batches:
        batch.search = Search()
        batch.search.is_sound = True
        failed, error = failures.failed(batch, EngineFailed("broken"), on_worker=True)
        for each in failed:
            each.fail(error)
    assert request.error is not None
    assert "caller" not in batcher._suspects


def test_a_suspects_reruns_take_turns_with_the_requests_of_others() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=4)
    put(batcher, *(make_request(model, mark, caller="bad") for mark in range(4)))
    Failures(batcher).failed(take(batcher), EngineFailed("broken"), on_worker=True)
    put(batcher, *(make_request(model, mark, caller="good") for mark in range(10, 20)))
    order = [marks(take(batcher)) for _ in range(5)]
    assert order == [[10, 11, 12, 13], [0, 1], [14, 15, 16, 17], [2, 3], [18, 19]]


def test_an_engine_that_fails_whatever_it_is_given_is_not_tried_for_ever() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=64)
    model.broken = True
    requests = [make_request(model, mark, caller=str(mark)) for mark in range(64)]
    put(batcher, *requests)
    workers = start(batcher)
    assert all(request.answered.wait(10) for request in requests)
    assert all(isinstance(request.error, EngineFailed) for request in requests)
    assert len(model.batches) <= 6
    seen = len(model.batches)
    more = [make_request(model, mark, caller=str(mark)) for mark in range(64)]
    with_lock_held(batcher, workers, more)
    assert all(isinstance(request.error, EngineFailed) for request in more)
    assert len(model.batches) <= seen + 64  # each ran once, in whatever batches they came
    model.broken = False
    well = [make_request(model, mark, caller=str(mark)) for mark in range(64)]
    with_lock_held(batcher, workers, well)
    assert all(request.got_its_own() for request in well)
    batcher.close()
    assert workers.join(10)


def test_the_log_has_a_line_for_many_failures(caplog: pytest.LogCaptureFixture) -> None:
    batcher, model, now_s = Batcher(), FakeModel(), [0.0]
    failures = Failures(batcher, lambda: now_s[0])

    def fail(error: Exception) -> None:
        batcher.put(make_request(model))
        failures.failed(take(batcher), error, on_worker=True)

    for _ in range(50):
        fail(EngineFailed("broken"))
    assert [record.message for record in caplog.records] == ["broken"]
    now_s[0] = 11.0
    fail(RuntimeError("secret"))
    assert caplog.records[-1].message == (
        "a batch of 1 images failed (50 runs failed since the last such line); this is a bug"
    )
    assert caplog.records[-1].exc_info is not None


def test_a_request_whose_rows_do_not_fit_harms_nobody_else() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=4)
    odd = make_request(model, 1, caller="odd")
    odd.rows = np.zeros(3, np.uint8).tobytes()
    well = [make_request(model, mark, caller=str(mark)) for mark in (2, 3)]
    put(batcher, odd, *well)
    run_all(batcher)
    assert isinstance(odd.error, EngineFailed)
    assert all(request.got_its_own() for request in well)
