"""A batch that was predicted to be short and is not, on the thread that takes calls."""

from __future__ import annotations

import queue
import threading
import time

import numpy as np
from tests.server.batching.test_worker import Tally
from tests.server.fakes import FakeModel, FakeRequest, make_request, put

from covey_server.batching.batcher import Batcher
from covey_server.batching.output import Output
from covey_server.batching.worker import Workers
from covey_server.fronts.intake import Intake


def test_a_run_that_takes_longer_than_predicted_is_told_and_workers_get_the_rest() -> None:
    batcher, slow, well = Batcher(), FakeModel(run_ms=0.1), FakeModel(run_ms=0.1)
    slow.gated = True
    held_up: queue.SimpleQueue[int] = queue.SimpleQueue()
    workers = Workers(batcher, 1, Tally(), inline_us=1000, on_held_up=held_up.put)
    workers.start()
    stuck, other, later = make_request(slow, 1), make_request(well, 2), make_request(slow, 3)
    put(batcher, stuck, other)
    intake = threading.Thread(target=workers.dispatch)
    intake.start()
    slow.started.acquire()
    assert held_up.get(timeout=10) == intake.ident
    assert other.answered.wait(10)  # the thread that is held up would have run it next
    put(batcher, later)
    workers.dispatch()  # as another thread that takes calls does: it does not run this model
    assert not later.answered.is_set()
    slow.started.acquire()  # a worker does
    slow.gate.release()
    slow.gate.release()
    intake.join(10)
    assert later.answered.wait(10)
    assert all(request.got_its_own() for request in (stuck, other, later))
    assert slow.cost.workers_until_ns > time.monotonic_ns()
    batcher.close()
    assert workers.join(10)


def test_answers_that_take_longer_than_predicted_are_told_too() -> None:
    gate, begun = threading.Event(), threading.Event()

    class Large(FakeRequest):
        def write_rows(self, output: Output, first: int, count: int) -> list[bytes]:
            begun.set()
            assert gate.wait(10)
            return super().write_rows(output, first, count)

    batcher, model = Batcher(), FakeModel(run_ms=0.1)
    held_up: queue.SimpleQueue[int] = queue.SimpleQueue()
    workers = Workers(batcher, 1, Tally(), inline_us=1000, on_held_up=held_up.put)
    workers.start()
    request = Large(model, np.zeros((1, *model.input_shape), np.uint8))
    put(batcher, request)
    intake = threading.Thread(target=workers.dispatch)
    intake.start()
    assert begun.wait(10)
    assert held_up.get(timeout=10) == intake.ident
    gate.set()
    intake.join(10)
    assert request.got_its_own()
    assert model.cost.workers_until_ns > time.monotonic_ns()
    batcher.close()
    assert workers.join(10)


def test_the_watch_sleeps_while_nothing_runs_and_is_woken_by_the_first_run() -> None:
    batcher, model = Batcher(), FakeModel(run_ms=0.1)
    held_up: queue.SimpleQueue[int] = queue.SimpleQueue()
    workers = Workers(batcher, 1, Tally(), inline_us=1000, on_held_up=held_up.put)
    workers.start()
    for _ in range(2):
        give_up = time.monotonic() + 10
        while not workers._inline_watch.asleep:
            assert time.monotonic() < give_up
            time.sleep(0.01)
        model.gated = True
        model.cost.workers_until_ns = 0
        put(batcher, make_request(model))
        intake = threading.Thread(target=workers.dispatch)
        intake.start()
        assert held_up.get(timeout=10) == intake.ident
        model.gate.release()
        intake.join(10)
    batcher.close()
    assert workers.join(10)


def test_no_more_threads_are_risked_than_may_be_late_at_once() -> None:
    batcher = Batcher()
    models = [FakeModel(run_ms=0.1) for _ in range(6)]
    held_up: queue.SimpleQueue[int] = queue.SimpleQueue()
    workers = Workers(batcher, 1, Tally(), inline_us=1000, on_held_up=held_up.put)
    workers._inline_watch.start()  # no workers: what is not run by the thread itself stays where it is
    threads = []
    for model in models[:4]:
        model.gated = True
        put(batcher, make_request(model))
        threads.append(threading.Thread(target=workers.dispatch))
        threads[-1].start()
        assert held_up.get(timeout=10) == threads[-1].ident
    last = make_request(models[4])
    put(batcher, last)
    workers.dispatch()
    assert not last.answered.is_set()
    for model in models[:4]:
        model.gate.release()
    for thread in threads:
        thread.join(10)
    put(batcher, fresh := make_request(models[5]))
    while not fresh.answered.is_set():  # `last` comes first, and may take the time that one dispatch has
        workers.dispatch()
    assert fresh.got_its_own()
    workers._inline_watch.stop()


def test_who_is_held_up_ends_once_another_takes_calls() -> None:
    calls: queue.SimpleQueue[threading.Event | None] = queue.SimpleQueue()
    taken: queue.SimpleQueue[int] = queue.SimpleQueue()

    def take() -> bool:
        gate = calls.get()
        if gate is None:
            return False
        taken.put(threading.get_ident())
        gate.wait(10)
        return True

    intake, gate, open_gate = Intake("intake", take), threading.Event(), threading.Event()
    open_gate.set()
    intake.start()
    calls.put(gate)
    first = taken.get(timeout=10)
    intake.take_over(first)
    intake.take_over(first)  # not the one that takes calls any more
    calls.put(open_gate)
    second = taken.get(timeout=10)
    assert second != first
    gate.set()
    for _ in range(3):
        calls.put(open_gate)
        assert taken.get(timeout=10) == second
    calls.put(None)
    intake.join(10)
    assert not [thread for thread in threading.enumerate() if thread.name == "intake"]
