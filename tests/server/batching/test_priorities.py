"""Priority batch: its images wait for those of others, and get their small share. Batches are taken by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.server.batching.test_groups import FakeGroup
from tests.server.fakes import MS, FakeModel, FakeRequest, in_ms, make_request, marks, put, take

from covey_server.batching.batcher import Batcher
from covey_server.batching.model_queue import BATCH_SHARE
from covey_server.errors import Overloaded


def bulk(
    model: FakeModel, mark: int = 0, count: int = 1, caller: str = "bulk", deadline_ns: int | None = None
) -> FakeRequest:
    """A request of priority batch."""
    request = make_request(model, mark, count, deadline_ns, caller)
    request.gives_way = True
    return request


def callers(batcher: Batcher) -> list[str]:
    """Those of the next batch, one for each image."""
    return [part.request.caller for part in take(batcher).parts for _ in range(part.stop - part.start)]


def test_it_leaves_when_nothing_else_waits() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=4)
    put(batcher, *(bulk(model, mark) for mark in range(6)), make_request(model, 50), make_request(model, 51, 5))
    assert [marks(take(batcher)) for _ in range(4)] == [[50, 51, 52, 53], [54, 55], [0, 1, 2, 3], [4, 5]]
    assert not batcher.waiting_images()


def test_even_of_what_would_fit_into_one_batch_others_go_first() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=8)
    put(batcher, make_request(model, 50), bulk(model, 0), make_request(model, 51), bulk(model, 1))
    assert [marks(take(batcher)) for _ in range(2)] == [[50, 51], [0, 1]]


def test_a_large_request_of_it_is_interrupted_between_two_batches() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=4)
    put(batcher, bulk(model, 0, 12))
    assert marks(take(batcher)) == [0, 1, 2, 3]
    put(batcher, make_request(model, 50))
    assert [marks(take(batcher)) for _ in range(3)] == [[50], [4, 5, 6, 7], [8, 9, 10, 11]]


@pytest.mark.parametrize("sizes", [[1], [4], [3, 1], [40]])
def test_while_others_always_wait_it_gets_one_image_of_twenty(sizes: Sequence[int]) -> None:
    """Whoever they are: here each of their requests comes by a connection of its own."""
    batcher, model = Batcher(), FakeModel(best_batch_size=4)
    put(batcher, *(bulk(model, caller=f"bulk {number % 3}") for number in range(120)))
    got = {"bulk": 0, "other": 0}
    for number in range(620):
        while sum(batcher.waiting_images().values()) - (120 - got["bulk"]) < 4:
            put(batcher, make_request(model, 0, sizes[number % len(sizes)], caller=f"other {number}"))
        for caller in callers(batcher):
            got[caller.split()[0]] += 1
        assert got["bulk"] * BATCH_SHARE <= got["other"] < (got["bulk"] + 4 + 1) * BATCH_SHARE + 4
    assert got["bulk"] == 120


def test_its_callers_take_turns_among_themselves() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=4)
    put(batcher, *(bulk(model, caller="a") for _ in range(12)), *(bulk(model, caller="b") for _ in range(4)))
    put(batcher, make_request(model, caller="interactive"))
    assert callers(batcher) == ["interactive"]
    assert callers(batcher) == ["a"] * 4  # what was there when nobody else waited has no order
    assert [sorted(callers(batcher)) for _ in range(2)] == [["a", "a", "b", "b"]] * 2


def test_callers_of_the_other_priority_keep_their_turns() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=4)
    put(batcher, bulk(model, 0, 8), make_request(model, 0, 8, caller="a"), make_request(model, 0, 8, caller="b"))
    assert [set(callers(batcher)) for _ in range(6)] == [{"a"}, {"b"}, {"a"}, {"b"}, {"bulk"}, {"bulk"}]


def test_the_estimate_for_a_deadline_knows_who_gives_way() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=4, run_ms=1_000)
    put(batcher, *(bulk(model, caller=str(number)) for number in range(100)))  # 25 s
    put(batcher, make_request(model, 9, deadline_ns=in_ms(5_000), caller="one"))
    assert marks(take(batcher)) == [9]
    put(batcher, *(make_request(model, caller=str(number)) for number in range(40)))
    with pytest.raises(Overloaded, match=r"\(140 images wait before it\)"):
        batcher.put(bulk(model, caller="late", deadline_ns=in_ms(10_000)))


def test_a_short_deadline_gets_none_of_it_before_others() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=2, run_ms=10_000)
    put(batcher, *(make_request(model, mark, deadline_ns=in_ms(10_000_000), caller=str(mark)) for mark in range(6)))
    put(batcher, *(bulk(model, 20 + mark, caller=str(mark)) for mark in range(4)))
    with pytest.raises(Overloaded):
        batcher.put(bulk(model, 30, deadline_ns=in_ms(40_000), caller="urgent"))
    batcher.put(bulk(model, 31, deadline_ns=in_ms(75_000), caller="urgent"))  # behind others, before its own kind
    assert [marks(take(batcher)) for _ in range(6)] == [[0, 1], [2, 3], [4, 5], [31, 20], [21, 22], [23]]


def test_a_batch_is_not_thought_too_slow_for_what_waits_behind_it() -> None:
    """Of a model whose large batches take long, one image is run in time though many of priority batch wait."""
    batcher, model = Batcher(), FakeModel(best_batch_size=8)
    model.cost = type(model.cost)({1: 10 * MS, 8: 40 * MS})
    put(batcher, *(bulk(model, caller=str(number)) for number in range(100)))
    one = make_request(model, 9, deadline_ns=in_ms(100_000), caller="one")
    put(batcher, one)
    one.deadline_ns = in_ms(30)
    batch = take(batcher)
    assert (marks(batch), one.error) == ([9], None)


def test_a_model_for_which_only_it_waits_lets_other_models_go_first() -> None:
    batcher, busy, quiet = Batcher(), FakeModel(best_batch_size=4, run_ms=1_000), FakeModel(best_batch_size=4)
    put(batcher, *(bulk(busy, mark) for mark in range(12)))
    assert marks(take(batcher)) == [0, 1, 2, 3]
    put(batcher, make_request(quiet, 50))  # came after the batch that runs, which others would have waited behind
    assert marks(take(batcher)) == [50]
    assert marks(take(batcher)) == [4, 5, 6, 7]
    put(batcher, make_request(busy, 60), make_request(quiet, 51))
    assert [marks(take(batcher)) for _ in range(3)] == [[60], [51], [8, 9, 10, 11]]


def test_it_does_not_starve_behind_other_models() -> None:
    batcher, model, other = Batcher(), FakeModel(best_batch_size=4, run_ms=0.001), FakeModel(best_batch_size=4)
    put(batcher, bulk(model, 0))
    for number in range(10_000):
        put(batcher, make_request(other, 50, caller=str(number)))
        if marks(take(batcher)) == [0]:
            return
    raise AssertionError("other models took all turns")


def test_a_group_of_it_stays_whole_unless_others_wait_too() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=8)

    def group(*marks_of_it: int) -> FakeGroup:
        made = FakeGroup([bulk(model, mark) for mark in marks_of_it])
        made.gives_way = True
        return made

    assert batcher.put_group(group(0, 1))
    assert batcher.put_group(group(2))
    assert [type(part.request) for part in take(batcher).parts] == [FakeGroup, FakeGroup]
    assert batcher.put_group(group(3, 4))
    put(batcher, make_request(model, 50))
    assert [marks(take(batcher)) for _ in range(2)] == [[50], [3, 4]]
    put(batcher, make_request(model, 51))
    assert batcher.put_group(group(5, 6))
    assert [marks(take(batcher)) for _ in range(2)] == [[51], [5, 6]]
