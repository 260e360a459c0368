"""What is shown, that docs/metrics.md lists all of it, and that versions come and go without piling up."""

from __future__ import annotations

import re
import weakref
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from tests.certificates import Authority
from tests.conftest import WriteModel
from tests.server.fakes import FakeModel, make_request

from covey_server.app import App
from covey_server.batching.batch import Batch, Part
from covey_server.batching.output import Output
from covey_server.config import Config
from covey_server.errors import Overloaded, RefusalReason
from covey_server.inference.devices import CPU
from covey_server.inference.model_loader import ModelLoader
from covey_server.models.catalog import RefusedVersion
from covey_server.observability.metrics import Metrics
from covey_server.observability.server_figures import ServerFigures
from covey_server.processes import merging
from covey_server.processes.figures import Figures

DOCUMENT = Path(__file__).parents[3] / "docs" / "metrics.md"


def figures() -> ServerFigures:
    """A server's, all of them different."""
    gauges = [each.name for each in fields(ServerFigures) if "text" in each.metadata]
    values: dict[str, Any] = {name: number for number, name in enumerate(gauges, 100)}
    return ServerFigures(
        waiting_images={},
        refused={"token": 3, "slow": 1},
        principals={"camera", "other"},
        closed_connections={"places": 2},
        **values,
    )


def shown(registry: CollectorRegistry) -> dict[tuple[str, ...], float]:
    """Values by name and label values, these in the order of the labels' names."""
    return {
        (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
        if sample.name.startswith("covey_")
    }


def test_every_metric_of_a_server_is_documented_and_the_other_way_round(
    tmp_path: Path, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path / "models")
    certificate, key = map(str, Authority(tmp_path / "certificates").sign("127.0.0.1"))  # whose expiry is a metric
    config = Config(models=tmp_path / "models", grpc_port=0, metrics_port=0, tls_certificate=certificate, tls_key=key)
    app = App(config)
    app.start()
    of_several = Figures(lambda: [], lambda: 0).registry.collect()  # that a parent adds
    found = [*app.registry.collect(), *of_several]
    families = {family.name: family for family in found if family.name.startswith("covey_")}
    app.stop()
    names = {f"{name}_total" if family.type == "counter" else name for name, family in families.items()}
    rows = dict(re.findall(r"^\| `(covey_\w+)` \| (\w+) \|", DOCUMENT.read_text(), flags=re.MULTILINE))
    assert set(rows) == names
    for name, kind in rows.items():
        assert families[name.removesuffix("_total")].type == kind
    decided = merging.ADDED | merging.LARGEST | merging.SMALLEST | {"covey_processes"}
    gauges = {name for name, family in families.items() if family.type == "gauge"}
    assert gauges <= decided, "decide how gauges of several processes become one"


def test_versions_come_and_go(tmp_path: Path, write_echo_model: WriteModel) -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    load = ModelLoader(CPU, threads=1, max_batch_size=1)
    path = write_echo_model(tmp_path)
    for version in range(1, 11):
        metrics.model_loaded(load("echo", version, path), 0.5)
        if version > 1:
            metrics.model_unloaded("echo", version - 1)
            metrics.model_retired("echo", version - 1)
    metrics.model_refused(RefusedVersion("echo", 11, "bad"))
    found = shown(registry)
    assert {key[2] for key in found if key[0] == "covey_images_total"} == {"8", "9", "10"}
    assert {key for key in found if key[0] == "covey_model_served"} == {("covey_model_served", "cpu", "echo", "10")}
    assert found["covey_model_loads_total", "echo", "loaded"] == 10
    assert found["covey_model_loads_total", "echo", "unloaded"] == 9
    assert found["covey_model_loads_total", "echo", "refused"] == 1
    assert found["covey_model_load_seconds", "echo", "10"] == 0.5


def test_the_whole_server_s_figures_and_refusals_are_shown() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    metrics.show(figures)
    reasons: tuple[RefusalReason | None, ...] = ("calls", "calls", "token", None)
    for reason in reasons:
        metrics.count_refusal(Overloaded("full", refused_for=reason))
    metrics.count_refusal(ValueError("no refusal"))
    metrics.count_refusal(Overloaded("too many", refused_for="in_flight", principal="camera"), 3)
    metrics.count_refusal(Overloaded("too many", refused_for="in_flight", principal="no longer in the file"))
    found = shown(registry)
    limited = {key[1:]: value for key, value in found.items() if key[0] == "covey_principal_refused_total"}
    assert limited == {("camera", "in_flight"): 3}
    assert found["covey_refused_total", "in_flight"] == 4
    assert (found["covey_refused_total", "calls"], found["covey_refused_total", "bytes"]) == (2, 0)
    assert found["covey_refused_total", "token"] == 1 + 3
    assert found["covey_refused_total", "slow"] == 1
    assert found["covey_connections_closed_total", "places"] == 2
    gauges = [each.name for each in fields(ServerFigures) if "text" in each.metadata]
    assert [found[f"covey_{name}",] for name in gauges] == list(range(100, 100 + len(gauges)))


def test_the_last_that_were_unloaded_are_still_shown_in_whatever_order_they_were_loaded(
    tmp_path: Path, write_echo_model: WriteModel
) -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    load, path = ModelLoader(CPU, threads=1, max_batch_size=1), write_echo_model(tmp_path)
    for version in (4, 3, 2, 1):  # as at a start
        metrics.model_loaded(load("echo", version, path), 0.1)
    for version in (2, 3, 4):
        metrics.model_unloaded("echo", version)
        metrics.model_retired("echo", version)
    assert {key[2] for key in shown(registry) if key[0] == "covey_images_total"} == {"1", "3", "4"}


def test_the_same_version_with_other_content_goes_on_counting(tmp_path: Path, write_echo_model: WriteModel) -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    load, path = ModelLoader(CPU, threads=1, max_batch_size=1), write_echo_model(tmp_path)
    for _ in range(2):
        model = load("echo", 1, path)
        metrics.model_loaded(model, 0.1)
        metrics.count_answer(model, "OK", "http:127.0.0.1:1")
        metrics.count_answer(model, "OK", "ipv4:127.0.0.1:1", 2)
    assert shown(registry)["covey_requests_total", "OK", "echo", "http", "1"] == 2
    assert shown(registry)["covey_requests_total", "OK", "echo", "grpc", "1"] == 4


def test_what_is_noted_is_in_the_next_scrape_whoever_counts_it(tmp_path: Path, write_echo_model: WriteModel) -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    model = ModelLoader(CPU, threads=1, max_batch_size=1)("echo", 1, write_echo_model(tmp_path))
    metrics.model_loaded(model, 0.1)
    request, other = make_request(FakeModel(), count=3), make_request(FakeModel(), caller="http:127.0.0.1:1")
    for each in (request, other):
        each.queued_ns, each.started_ns, each.computed_ns = 150_000, 1_150_000, 4_150_000
    output = Output(np.eye(4, 10, dtype=np.float32) * np.array([[1.0], [0.4], [np.nan], [0.9]], np.float32))
    batch = Batch(model, [Part(request, 0, 3), Part(other, 0, 1)], 4, 1_150_000, "full")
    metrics.note_batch(batch, output, [request, other])
    found = shown(registry)
    answered = {key[1]: value for key, value in found.items() if key[0] == "covey_answers_total" and value}
    assert answered == {"class 0": 1, "class 1": 1, "class 3": 1}  # the third answer is none
    assert found["covey_confidence_bucket", "0.4", "echo", "1"] == 1
    assert found["covey_confidence_sum", "echo", "1"] == pytest.approx(2.3)
    assert found["covey_entropy_count", "echo", "1"] == 3
    assert found["covey_requests_total", "OK", "echo", "grpc", "1"] == 1
    assert found["covey_requests_total", "OK", "echo", "http", "1"] == 1
    assert found["covey_images_total", "echo", "1"] == 4
    assert found["covey_batches_total", "echo", "full", "1"] == 1
    parts = {
        part: found[f"covey_{part}_seconds_sum", "echo", "1"] for part in ("decode", "queue", "compute", "request")
    }
    assert parts == pytest.approx({"decode": 0.0003, "queue": 0.002, "compute": 0.006, "request": 0.0083})
    assert found["covey_queue_seconds_bucket", "0.001", "echo", "1"] == 2
    assert found["covey_queue_seconds_bucket", "0.0005", "echo", "1"] == 0


def test_a_batch_of_a_version_that_was_replaced_by_one_with_other_labels_is_left_out_of_the_answers(
    tmp_path: Path, write_echo_model: WriteModel
) -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    load = ModelLoader(CPU, threads=1, max_batch_size=1)
    before = load("echo", 1, write_echo_model(tmp_path))
    metrics.model_loaded(before, 0.1)
    request = make_request(FakeModel())
    batch = Batch(before, [Part(request, 0, 1)], 1, 1, "full")
    metrics.note_batch(batch, Output(np.eye(1, 10, dtype=np.float32)), [request])
    metrics.model_loaded(load("echo", 1, write_echo_model(tmp_path, classes=9)), 0.1)
    metrics.note_batch(batch, Output(np.eye(1, 10, dtype=np.float32)), [request])
    found = shown(registry)
    assert found["covey_images_total", "echo", "1"] == 2
    assert sum(value for key, value in found.items() if key[0] == "covey_answers_total") == 0


def test_keeps_no_model_alive(tmp_path: Path, write_echo_model: WriteModel) -> None:
    metrics = Metrics(CollectorRegistry())
    model = ModelLoader(CPU, threads=1, max_batch_size=1)("echo", 1, write_echo_model(tmp_path))
    metrics.model_loaded(model, 0.1)
    metrics.count_answer(model, "OK", "")
    gone = weakref.ref(model)
    del model
    assert gone() is None
