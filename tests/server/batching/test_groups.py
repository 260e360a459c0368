"""Groups: requests that came together and are queued as one, for as long as they share one fate."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.server.fakes import MS, FakeModel, FakeRequest, in_ms, make_request, marks, put, take

from covey_server.batching.batch import Batch
from covey_server.batching.batcher import Batcher
from covey_server.batching.output import Output
from covey_server.batching.request import Buffer, Group, Request
from covey_server.batching.worker import Workers


class FakeGroup(Group):
    """Answers its requests one by one, and remembers whether they were answered together."""

    __slots__ = ("requests", "together")

    def __init__(self, requests: Sequence[FakeRequest], deadline_ns: int | None = None) -> None:
        model = requests[0].model
        rows = b"".join(bytes(request.rows) for request in requests)
        super().__init__(model, rows, sum(request.count for request in requests), 0, deadline_ns)
        self.calls = len(requests)
        self.requests = requests
        self.together = False

    @property
    def cancelled(self) -> bool:
        return any(request.cancelled for request in self.requests)

    def make_requests(self) -> Sequence[Request]:
        return self.requests

    def answer(self, output: Output, first: int) -> None:
        self.together = True
        for request in self.requests:
            request.answer(output, first)
            first += request.count

    def write_rows(self, output: Output, first: int, count: int) -> list[bytes]:
        raise NotImplementedError

    def succeed(self, rows: Sequence[Buffer]) -> None:
        raise NotImplementedError

    def fail(self, error: Exception) -> None:
        raise NotImplementedError


class Ignored:
    """An observer."""

    def note_batch(self, batch: Batch, output: Output, answered: Sequence[Request]) -> None:
        pass

    def count_noted(self) -> None:
        pass


def group_of(model: FakeModel, *first: int, caller: str = "", deadline_ns: int | None = None) -> FakeGroup:
    return FakeGroup([make_request(model, mark, caller=caller, deadline_ns=deadline_ns) for mark in first], deadline_ns)


def test_a_group_leaves_with_what_else_waits() -> None:
    batcher, model = Batcher(), FakeModel()
    put(batcher, make_request(model, 7))
    assert batcher.put_group(group_of(model, 1, 2, 3))
    put(batcher, make_request(model, 8))
    batch = take(batcher)
    assert marks(batch) == [7, 1, 2, 3, 8]
    assert len(batch.parts) == 3
    assert not batcher.waiting_images()


def test_a_group_of_which_a_part_would_wait_is_not_queued() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=4)
    put(batcher, make_request(model), make_request(model))
    assert not batcher.put_group(group_of(model, 1, 2, 3))
    assert batcher.waiting_images() == {model: 2}


def test_the_model_whose_group_waits_longest_is_next() -> None:
    batcher, early, late = Batcher(), FakeModel(), FakeModel()
    assert batcher.put_group(group_of(early, 1, 2))
    assert batcher.put_group(group_of(late, 11, 12))
    assert batcher.put_group(group_of(early, 3, 4))
    assert [marks(take(batcher)), marks(take(batcher))] == [[1, 2, 3, 4], [11, 12]]
    put(batcher, make_request(early, 5))
    assert batcher.put_group(group_of(late, 13, 14))
    assert [marks(take(batcher)), marks(take(batcher))] == [[5], [13, 14]]


def test_a_group_is_made_into_requests_when_others_have_to_wait() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=4)
    assert batcher.put_group(group_of(model, 1, 2, 3, caller="a"))
    put(batcher, *(make_request(model, mark, caller="b") for mark in (11, 12, 13)))
    first, second = take(batcher), take(batcher)
    assert marks(first) == [1, 2, 3, 11]
    assert marks(second) == [12, 13]
    assert all(part.whole for part in first.parts)


def test_a_cancelled_request_of_a_group_takes_no_place() -> None:
    batcher, model = Batcher(), FakeModel()
    group = group_of(model, 1, 2, 3)
    assert batcher.put_group(group)
    group.requests[1].cancel()
    assert marks(take(batcher)) == [1, 3]
    assert "went away" in str(group.requests[1].error)


def test_a_group_without_time_to_spare_is_not_queued() -> None:
    batcher, model = Batcher(), FakeModel(run_ms=10)
    assert not batcher.put_group(group_of(model, 1, 2, deadline_ns=in_ms(15)))
    assert batcher.put_group(group_of(model, 1, 2, deadline_ns=in_ms(10_000)))


def test_requests_of_a_group_that_waited_too_long_end_by_themselves() -> None:
    batcher, model = Batcher(), FakeModel(run_ms=10)
    late, early = make_request(model, 1, deadline_ns=in_ms(10_000)), make_request(model, 2, deadline_ns=in_ms(20_000))
    group = FakeGroup([late, early], late.deadline_ns)
    assert batcher.put_group(group)
    late.deadline_ns = group.deadline_ns = in_ms(-1)
    assert marks(take(batcher)) == [2]
    assert late.error is not None


@pytest.mark.parametrize("guilty", [0, 3, 7])
def test_a_failed_run_fails_only_the_request_that_caused_it(guilty: int) -> None:
    batcher, model = Batcher(), FakeModel()
    workers = Workers(batcher, 1, Ignored(), inline_us=0)
    model.guilty = {10 + guilty}
    group = group_of(model, *range(10, 18))
    assert batcher.put_group(group)
    workers.start()
    workers.dispatch()
    for place, request in enumerate(group.requests):
        assert request.answered.wait(20)
        assert (request.error is not None) == (place == guilty)
        assert request.got_its_own() == (place != guilty)
    batcher.close()
    assert workers.join(20)


def test_a_group_runs_at_once_only_if_nothing_else_is_to_be_considered() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=4, run_ms=1)
    group = group_of(model, 1, 2)
    batch = batcher.take_at_once(group, 2 * MS)
    assert batch is not None
    assert marks(batch) == [1, 2]
    assert batcher.take_at_once(group, 0.5 * MS) is None, "it takes too long"
    assert batcher.take_at_once(group_of(model, *range(5)), 2 * MS) is None, "more than a batch"
    assert batcher.take_at_once(group_of(model, 1, deadline_ns=in_ms(2)), 2 * MS) is None, "little time"
    batcher.suspect(["somebody"])
    assert batcher.take_at_once(group, 2 * MS) is None
    busy = Batcher()
    put(busy, make_request(model))
    assert busy.take_at_once(group, 2 * MS) is None, "others wait"
    running = take(busy)
    assert busy.take_at_once(group, 2 * MS) is None, "a worker runs the model: its requests gather"
    busy.finish(running)
    assert busy.take_at_once(group, 2 * MS) is not None
    busy.close()
    assert busy.take_at_once(group, 2 * MS) is None
