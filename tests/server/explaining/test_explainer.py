"""The thread that explains: one after another, bounded, and never before what is to be served."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.server.explaining import networks
from tests.waiting import wait_until

from covey_server.errors import Expired, Overloaded, Stopping
from covey_server.explaining import explainer as explainer_module
from covey_server.explaining.explainer import MAX_OF_CALLER, MAX_WAITING, Explainer, Job
from covey_server.explaining.inside import Inside
from covey_server.explaining.serving_time import FRESH_S, ServingTime
from covey_server.inference.devices import CPU
from covey_server.inference.model_loader import ModelLoader
from covey_server.inference.served_model import ServedModel

TIMEOUT_S = 20


def load(models: Path, name: str = "plain") -> ServedModel:
    return ModelLoader(CPU, 1, 1)(name, 1, models / name / "1" / "model.onnx")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = tmp_path_factory.mktemp("explainer")
    networks.plain(models)
    networks.residual(models)
    return models


@pytest.fixture(scope="module")
def model(folder: Path) -> ServedModel:
    return load(folder)


class Load:
    """What waits to be served, as a test says."""

    backlog_ms = 0.0

    def __call__(self) -> float:
        return self.backlog_ms


def idle() -> ServingTime:
    """Of a server that has nothing else to do, whatever this process does."""
    return ServingTime(2, process_s=lambda: 0.0, own_s=lambda: 0.0)


@pytest.fixture
def waiting() -> Load:
    return Load()


@pytest.fixture
def explainer(waiting: Load) -> Iterator[Explainer]:
    made = Explainer(waiting, idle())
    yield made
    made.close()
    assert made.join(TIMEOUT_S)


class Outcome:
    """A job's end."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.inside: Inside | None = None
        self.open_ns = -1
        self.error: Exception | None = None

    def work(self, inside: Inside, open_ns: int) -> None:
        self.inside, self.open_ns = inside, open_ns
        self.ended.set()

    def fail(self, error: Exception) -> None:
        self.error = error
        self.ended.set()

    def job(self, model: ServedModel, caller: str = "a", work: Callable[[Inside, int], None] | None = None) -> Job:
        return Job(model, caller, work or self.work, self.fail)


def run(explainer: Explainer, model: ServedModel) -> Outcome:
    outcome = Outcome()
    explainer.submit(outcome.job(model))
    assert outcome.ended.wait(TIMEOUT_S)
    assert outcome.error is None
    return outcome


def test_a_session_is_kept_for_the_next_explanation(explainer: Explainer, model: ServedModel) -> None:
    first, second = run(explainer, model), run(explainer, model)
    assert first.open_ns > 0
    assert second.open_ns == 0
    assert second.inside is first.inside


def test_sessions_are_dropped_when_nothing_was_explained_for_a_while(model: ServedModel) -> None:
    explainer = Explainer(Load(), idle(), idle_s=0.05)
    run(explainer, model)
    wait_until(lambda: explainer.sessions == 0)
    assert run(explainer, model).open_ns > 0
    explainer.close()
    assert explainer.join(TIMEOUT_S)


def test_the_sessions_that_were_used_last_are_kept_within_their_bytes(
    explainer: Explainer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, residual = load(folder), load(folder, "residual")
    run(explainer, plain)
    run(explainer, residual)
    assert explainer.sessions == 2
    monkeypatch.setattr(explainer_module, "MAX_KEPT_BYTES", 1)
    again = load(folder)
    run(explainer, again)
    assert explainer.sessions == 1
    assert run(explainer, again).open_ns == 0


def test_it_keeps_no_model_alive(explainer: Explainer, folder: Path) -> None:
    model = load(folder)
    gone = weakref.ref(model)
    run(explainer, model)
    del model
    wait_until(lambda: gone() is None)
    wait_until(lambda: explainer.sessions == 0)


def test_few_wait_and_a_caller_has_half_of_the_places(explainer: Explainer, model: ServedModel) -> None:
    started, go = threading.Event(), threading.Event()

    def hold(inside: Inside, open_ns: int) -> None:
        started.set()
        assert go.wait(TIMEOUT_S)

    outcomes = [Outcome() for _ in range(MAX_WAITING)]
    explainer.submit(outcomes[0].job(model, work=hold))
    assert started.wait(TIMEOUT_S)
    for outcome in outcomes[1:MAX_OF_CALLER]:
        explainer.submit(outcome.job(model))
    with pytest.raises(Overloaded, match="4 explanations of this connection and 0 of others wait") as caught:
        explainer.submit(Outcome().job(model))
    assert caught.value.retry_after_ms == 1000
    for outcome in outcomes[MAX_OF_CALLER:]:
        explainer.submit(outcome.job(model, "b"))
    with pytest.raises(Overloaded, match="at most 4 of one and 8 of all"):
        explainer.submit(Outcome().job(model, "c"))
    go.set()
    assert all(outcome.ended.wait(TIMEOUT_S) for outcome in outcomes[1:])
    wait_until(lambda: not explainer._waiting)
    run(explainer, model)


def test_an_explanation_that_fails_ends_no_other(explainer: Explainer, model: ServedModel) -> None:
    def fails(inside: Inside, open_ns: int) -> None:
        raise ZeroDivisionError

    outcome = Outcome()
    explainer.submit(outcome.job(model, work=fails))
    assert outcome.ended.wait(TIMEOUT_S)
    assert isinstance(outcome.error, ZeroDivisionError)
    run(explainer, model)


def test_it_is_refused_while_serving_has_no_time(explainer: Explainer, waiting: Load) -> None:
    explainer.require_time()
    waiting.backlog_ms = 5_000
    with pytest.raises(Overloaded, match="requests of 5000 ms wait to be served") as caught:
        explainer.require_time()
    assert caught.value.retry_after_ms == 5_000


def test_it_gives_way_until_serving_has_time_again(explainer: Explainer, waiting: Load) -> None:
    looks = []

    def look() -> None:
        looks.append(waiting.backlog_ms)
        if len(looks) == 3:
            waiting.backlog_ms = 0.0

    waiting.backlog_ms = 100.0
    explainer.give_way(look)
    assert looks == [100.0, 100.0, 100.0]


def test_it_gives_up_where_serving_never_has_time(
    explainer: Explainer, waiting: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explainer_module, "_GIVE_WAY_S", 0.02)
    waiting.backlog_ms = 100.0
    with pytest.raises(Overloaded, match="wait to be served"):
        explainer.give_way(lambda: None)


def test_it_ends_where_nobody_waits_any_more(explainer: Explainer) -> None:
    def expired() -> None:
        raise Expired("too late")

    with pytest.raises(Expired):
        explainer.give_way(expired)


def test_after_the_end_nothing_is_taken_and_what_waits_fails(model: ServedModel) -> None:
    explainer = Explainer(Load(), idle())
    started, go = threading.Event(), threading.Event()

    def hold(inside: Inside, open_ns: int) -> None:
        started.set()
        assert go.wait(TIMEOUT_S)

    waits = Outcome()
    explainer.submit(Outcome().job(model, work=hold))
    assert started.wait(TIMEOUT_S)
    explainer.submit(waits.job(model))
    explainer.close()
    with pytest.raises(Stopping):
        explainer.submit(Outcome().job(model))
    go.set()
    assert explainer.join(TIMEOUT_S)
    assert isinstance(waits.error, Stopping)


class Clocks:
    """Times as a test says."""

    now_s = process_s = own_s = 0.0

    def pass_(self, seconds: float, serving_s: float, own_s: float = 0.0) -> None:
        self.now_s += seconds
        self.process_s += serving_s + own_s
        self.own_s += own_s


def no_wait(seconds: float) -> None:
    raise AssertionError(f"it waited for {seconds} s")


def measured(clocks: Clocks) -> ServingTime:
    return ServingTime(2, lambda: clocks.now_s, lambda: clocks.process_s, lambda: clocks.own_s)


def test_the_share_of_serving_is_that_of_all_other_threads() -> None:
    clocks = Clocks()
    serving = measured(clocks)
    assert serving.share(lambda seconds: clocks.pass_(seconds, seconds, own_s=0.0)) == pytest.approx(0.5)
    clocks.pass_(0.1, serving_s=0.02, own_s=0.08)
    assert serving.share(no_wait) == pytest.approx(0.1)
    clocks.pass_(0.001, serving_s=0.001)
    assert serving.share(no_wait) == pytest.approx(0.1)  # too soon to tell
    assert serving.latest == pytest.approx(0.1)
    clocks.pass_(2 * FRESH_S, serving_s=4 * FRESH_S)
    assert serving.latest == 0
    assert serving.share(lambda seconds: clocks.pass_(seconds, 0.0)) == 0


def test_it_is_refused_while_serving_takes_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explainer_module, "_GIVE_WAY_S", 0.0)
    clocks = Clocks()
    explainer = Explainer(Load(), measured(clocks))
    clocks.pass_(10, serving_s=10)
    explainer.require_time()  # nothing is known yet
    monkeypatch.setattr(explainer._stop_waiting, "wait", lambda seconds: clocks.pass_(seconds, serving_s=seconds))
    with pytest.raises(Overloaded, match="serving takes 50% of all cores, and explanations come after it"):
        explainer.give_way(lambda: None)
    with pytest.raises(Overloaded, match="serving takes 50%"):
        explainer.require_time()
