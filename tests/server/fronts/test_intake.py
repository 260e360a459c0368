"""The threads that take calls: those that ended are forgotten, and one that is stuck keeps nobody waiting."""

from __future__ import annotations

import threading

from covey_server.fronts.intake import Intake


def test_a_thread_that_is_stuck_is_not_waited_for_longer_than_asked() -> None:
    taken, gate = threading.Event(), threading.Event()

    def take() -> bool:
        taken.set()
        gate.wait(60)
        return False

    intake = Intake("intake", take)
    intake.start()
    assert taken.wait(10)
    (thread,) = intake._threads
    intake.join(0.01)
    assert thread.is_alive()
    gate.set()
    intake.join(10)
    assert not thread.is_alive()


def test_threads_that_ended_are_forgotten() -> None:
    calls, taken, gates = iter([True] * 5), threading.Semaphore(0), [threading.Event() for _ in range(6)]
    turns = iter(gates)

    def take() -> bool:
        gate = next(turns)
        taken.release()
        gate.wait(60)
        return next(calls, False)

    intake = Intake("intake", take)
    intake.start()
    for gate in gates[:5]:  # held up, relieved, and at its end as another one takes calls
        assert taken.acquire(timeout=10)
        held_up = intake._threads[-1]
        assert held_up.ident is not None
        intake.take_over(held_up.ident)
        gate.set()
        held_up.join(10)
    assert taken.acquire(timeout=10)
    gates[5].set()
    intake._threads[-1].join(10)
    assert len(intake._threads) <= 2
