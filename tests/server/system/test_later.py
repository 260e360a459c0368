"""Work that may come later: in order, within limits, and never lost without whoever offered it knowing."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from covey_server.system.later import Later


def test_in_order() -> None:
    done: list[int] = []
    last = threading.Event()

    def do(item: int) -> None:
        done.append(item)
        if item == 99:
            last.set()

    work = Later("test", do, max_items=100, max_bytes=1000)
    assert all(work.put(item, 10) for item in range(100))
    work.start()
    assert last.wait(20)
    assert done == list(range(100))
    assert work.close() == []
    assert work.join(20)


def test_what_does_not_fit_is_refused() -> None:
    work: Later[str] = Later("test", lambda _: None, max_items=3, max_bytes=100)
    assert work.put("a", 60)
    assert not work.put("b", 41)
    assert work.put("c", 40)
    assert work.put("d", 0)
    assert not work.put("e", 0), "a fourth"
    assert work.close() == ["a", "c", "d"]
    assert not work.put("f", 0)
    assert work.is_closed
    assert work.join(0), "it was never started"


def test_every_item_is_done_or_returned_or_refused_while_it_closes() -> None:
    for _ in range(50):
        done: list[int] = []
        work = Later("test", done.append, max_items=1000, max_bytes=1000)
        work.start()
        begin = threading.Barrier(5)

        def put(first: int, work: Later[int] = work, begin: threading.Barrier = begin) -> list[int]:
            begin.wait()
            return [item for item in range(first, first + 50) if not work.put(item, 1)]

        with ThreadPoolExecutor(4) as pool:
            refusing = [pool.submit(put, first) for first in (0, 100, 200, 300)]
            begin.wait()
            left = work.close()
            refused = [item for each in refusing for item in each.result()]
        assert work.join(20)
        assert len(done) + len(left) + len(refused) == 200
        assert len({*done, *left, *refused}) == 200
