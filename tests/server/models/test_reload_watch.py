"""The thread that looks at the models folder."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.server.models.reloading import TextFolder

from covey_server.models.watch import Watch

SOON_S = 0.001
LONG_S = 30.0


@pytest.fixture
def start() -> Iterator[Callable[[Callable[[], object]], Watch]]:
    """Starts a watch that is stopped at the end."""
    watches: list[Watch] = []

    def start(refresh: Callable[[], object]) -> Watch:
        watches.append(Watch(refresh, SOON_S))
        watches[-1].start()
        return watches[-1]

    yield start
    for watch in watches:
        assert watch.stop(LONG_S)


StartWatch = Callable[[Callable[[], object]], Watch]


def test_a_new_version_is_found_by_itself(tmp_path: Path, start: StartWatch) -> None:
    models = TextFolder(tmp_path)
    models.write("m", 1)
    models.repository.load()
    looked = threading.Semaphore(0)

    def refresh() -> None:
        models.repository.refresh()
        looked.release()

    start(refresh)
    models.write("m", 2)
    while looked.acquire(blocking=False):
        pass  # looks that ended before the file was there
    for _ in range(3):  # one may have begun before
        assert looked.acquire(timeout=LONG_S)
    assert models.served() == ["m/2 good"]


def test_a_failure_is_said_once_of_each_kind_and_the_watch_goes_on(
    start: StartWatch, caplog: pytest.LogCaptureFixture
) -> None:
    failures: list[Exception | None] = [
        ValueError("first"), ValueError("second"), KeyError("third"), ValueError("fourth"), None, ValueError("fifth"),
    ]  # fmt: skip
    done = threading.Event()

    def refresh() -> None:
        if not failures:
            done.set()
        elif (failure := failures.pop(0)) is not None:
            raise failure

    watch = start(refresh)
    assert done.wait(LONG_S)
    assert watch.stop(LONG_S)
    told = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert told == ["first", "'third'", "fifth"]
    assert all(record.levelno == logging.ERROR for record in caplog.records)


def test_stopping_waits_for_a_load_but_not_for_ever(start: StartWatch) -> None:
    began, gate = threading.Event(), threading.Event()
    looks: list[None] = []

    def refresh() -> None:
        looks.append(None)
        began.set()
        assert gate.wait(LONG_S)

    watch = start(refresh)
    assert began.wait(LONG_S)
    assert not watch.stop(timeout_s=0.01)
    gate.set()
    assert watch.stop(LONG_S)
    assert len(looks) == 1


def test_an_interval_of_0_never_looks() -> None:
    before = set(threading.enumerate())
    watch = Watch(lambda: pytest.fail("it looked"), 0)
    watch.start()
    assert set(threading.enumerate()) <= before
    assert watch.stop()
