"""A version in the shadow of the served one: what is compared, what is counted, and that callers notice nothing."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from bench.processes import fetch
from numpy.typing import NDArray
from tests.conftest import WriteModel
from tests.server.conftest import Server, StartServer
from tests.waiting import wait_until

from covey_proto.v1 import classifier_pb2 as pb
from covey_server.observability import shadowing
from covey_server.observability.comparison import ShadowCounts, compare


def shown(server: Server, name: str) -> dict[str, float]:
    """The values of a metric of version 2, by its last label."""
    rows = re.findall(rf"^{name}\{{([^}}]*)\}} (\S+)$", fetch(server.metrics_url), flags=re.MULTILINE)
    values = {}
    for labels, value in rows:
        pairs = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        if pairs.pop("version") == "2":
            pairs.pop("model")
            values[",".join(pairs.values())] = float(value)
    return values


def classify(server: Server, count: int, seed: int) -> pb.ClassifyResponse:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 16), dtype=np.uint8)
    return server.classify(pb.ClassifyRequest(pixels=pb.Pixels(data=pixels.tobytes())))


@pytest.fixture
def models(tmp_path: Path, write_echo_model: WriteModel) -> Path:
    """Version 1 is served, version 2 in its shadow."""
    for version in (1, 2):
        write_echo_model(tmp_path, version=version)
    (tmp_path / "echo" / "default-version").write_text("1")
    (tmp_path / "echo" / "shadow-version").write_text("2")
    return tmp_path


def test_an_equal_version_agrees(start_server: StartServer, models: Path) -> None:
    server = start_server(models, shadow_share=1.0)
    assert classify(server, 7, seed=1).version == 1
    wait_until(lambda: shown(server, "covey_shadow_images_total").get("agrees") == 7)
    assert shown(server, "covey_shadow_images_total") == {"agrees": 7, "differs": 0, "failed": 0, "skipped": 0}
    assert shown(server, "covey_shadow_difference_sum") == {"": 0}
    assert shown(server, "covey_shadow_compute_seconds_total")[""] > 0
    assert shown(server, "covey_images_total") == {"": 0}, "no caller was answered by it"


def test_another_answer_differs_and_callers_get_the_served_one(
    start_server: StartServer, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_server(models, shadow_share=1.0)
    shadow = server.app.repository.catalog.find("echo", 2)
    run = shadow.engine.run

    def run_reversed(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return run(images)[:, ::-1]

    monkeypatch.setattr(shadow.engine, "run", run_reversed)
    image = np.zeros(16, np.uint8)
    image[3] = 255  # class 3; in reverse, class 6
    answer = server.classify(pb.ClassifyRequest(pixels=pb.Pixels(data=image.tobytes())))
    assert answer.results[0].classes[0].index == 3
    wait_until(lambda: shown(server, "covey_shadow_images_total").get("differs") == 1)
    differs = {name: count for name, count in shown(server, "covey_shadow_differs_total").items() if count}
    assert differs == {"class 3": 1}
    assert shown(server, "covey_shadow_difference_sum")[""] == pytest.approx(1.0)


def test_a_shadow_that_fails_is_counted_and_fails_no_caller(
    start_server: StartServer, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_server(models, shadow_share=1.0)
    shadow = server.app.repository.catalog.find("echo", 2)

    def fail(_: object) -> None:
        raise RuntimeError("broken, for the test")

    monkeypatch.setattr(shadow.engine, "run", fail)
    for seed in range(3):
        assert len(classify(server, 2, seed).results) == 2
    wait_until(lambda: shown(server, "covey_shadow_images_total").get("failed") == 6)


def test_what_there_is_no_time_for_is_skipped(
    start_server: StartServer, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadowing, "MAX_WAITING_BYTES", 16)
    server = start_server(models, shadow_share=1.0)
    classify(server, 2, seed=1)
    wait_until(lambda: shown(server, "covey_shadow_images_total").get("skipped") == 2)


def test_other_labels_cannot_be_compared(start_server: StartServer, models: Path, write_echo_model: WriteModel) -> None:
    write_echo_model(models, version=2, classes=9)
    server = start_server(models, shadow_share=1.0)
    classify(server, 2, seed=1)
    wait_until(lambda: shown(server, "covey_shadow_images_total").get("other_contract") == 2)


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_a_share_of_the_batches(start_server: StartServer, models: Path, share: float) -> None:
    server = start_server(models, shadow_share=share)
    for seed in range(100):
        classify(server, 1, seed)
    if share:
        wait_until(lambda: sum(shown(server, "covey_shadow_images_total").values()) >= 10)
    wait_until(lambda: server.app._observers.shadowing.work.is_idle)
    ran = sum(shown(server, "covey_shadow_images_total").values())
    assert 10 <= ran <= 55 if share else not ran  # 30 are expected, with a standard deviation of 5


def test_without_a_shadow_nothing_runs_again(start_server: StartServer, models: Path) -> None:
    (models / "echo" / "shadow-version").unlink()
    server = start_server(models, shadow_share=1.0)
    classify(server, 2, seed=1)
    assert server.app._observers.shadowing.work.is_idle
    assert shown(server, "covey_shadow_images_total") == {}


def test_the_comparison() -> None:
    served = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]], np.float32)
    found = np.array([[0.8, 0.2], [0.7, 0.3], [0.5, 0.5]], np.float32)
    counts = ShadowCounts()
    counts.add(compare(served, found, 0.5))
    counts.add(compare(served, np.full_like(found, np.nan), 0.25))
    assert dict(counts.results) == {"agrees": 2, "differs": 1, "failed": 3, "skipped": 0}
    assert counts.by_class(("a", "b")) == [("a", 0), ("b", 1)]
    assert counts.difference_sum == pytest.approx(0.1 + 0.5)
    assert counts.seconds == 0.75
