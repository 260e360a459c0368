"""Traces of a running server, as a collector receives them by OTLP."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import grpc
import numpy as np
import pytest
from bench.trace import Collector, collecting
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from tests.conftest import WriteModel
from tests.server.conftest import Server, StartServer
from tests.server.http.asking import ask
from tests.server.observability.test_access_log import write_all

from covey_proto.v1 import classifier_pb2 as pb

TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PIXELS = np.zeros((2, 4, 4, 1), np.uint8)
PARTS = ["decode", "queue", "compute", "answer"]


class Services(Collector):
    """Keeps the names of the services that send spans, too."""

    def __init__(self) -> None:
        super().__init__()
        self.resources: set[str] = set()

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802, ANN401 - as the generated class
        self.resources |= {
            each.value.string_value
            for resource in request.resource_spans
            for each in resource.resource.attributes
            if each.key == "service.name"
        }
        return super().Export(request, context)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    """A collector that the server's environment names."""
    found = Services()
    with collecting(found) as address:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        yield found


def by_name(spans: list[Span]) -> dict[str, Span]:
    return {span.name: span for span in spans}


@pytest.fixture
def models(tmp_path: Path, write_echo_model: WriteModel) -> Path:
    write_echo_model(tmp_path, "echo")
    return tmp_path


def classify(server: Server, parent: str = "", model: str = "echo") -> None:
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = server.channel.unary_unary("/covey.v1.Classifier/Classify")
    request = pb.ClassifyRequest(model=model, pixels=pb.Pixels(data=PIXELS.tobytes()))
    call(request.SerializeToString(), timeout=20, metadata=(("traceparent", parent),) if parent else ())


def attributes(span: Span) -> dict[str, object]:
    """An attribute's value has one member, whatever its type."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value") or "") for each in span.attributes}


def test_a_call_is_a_span_with_its_parts(start_server: StartServer, models: Path, collector: Services) -> None:
    server = start_server(models)
    classify(server, f"00-{TRACE_ID}-{PARENT_ID}-01")

    spans = by_name(collector.take(6))
    call = spans["covey.v1.Classifier/Classify"]
    assert (call.trace_id.hex(), call.parent_span_id.hex()) == (TRACE_ID, PARENT_ID)
    assert call.kind == Span.SPAN_KIND_SERVER
    assert collector.resources == {"covey-server"}
    found = attributes(call)
    assert (found["rpc.service"], found["rpc.method"]) == ("covey.v1.Classifier", "Classify")
    assert (found["covey.model"], found["covey.version"], found["covey.images"]) == ("echo", 1, 2)

    parts = [spans[name] for name in PARTS]
    assert {part.parent_span_id for part in parts} == {call.span_id}
    times = [call.start_time_unix_nano]
    for part in parts:  # one after the other, without a gap
        assert part.start_time_unix_nano == times[-1]
        times.append(part.end_time_unix_nano)
    assert times == sorted(times)
    assert times[-1] == call.end_time_unix_nano

    accept = "application/openmetrics-text; version=1.0.0"
    with urlopen(Request(server.metrics_url, headers={"Accept": accept})) as answer:
        shown = answer.read().decode()
    assert re.search(rf'covey_request_seconds_bucket{{.*}} \S+ # {{trace_id="{TRACE_ID}"}} 0\.', shown)

    batch = spans["batch"]
    assert [link.span_id for link in spans["compute"].links] == [batch.span_id]
    assert batch.trace_id != call.trace_id
    assert attributes(batch)["covey.batch_size"] == 2


def test_the_caller_decides_whether_it_is_traced(start_server: StartServer, models: Path, collector: Services) -> None:
    server = start_server(models)
    for _ in range(5):
        classify(server, f"00-{TRACE_ID}-{PARENT_ID}-00")
    write_all(server)
    assert collector.spans.empty()


def test_a_share_of_the_calls(
    start_server: StartServer, models: Path, collector: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.2")
    server = start_server(models)
    for _ in range(200):
        classify(server)
    write_all(server)
    names = [collector.spans.get_nowait().name for _ in range(collector.spans.qsize())]
    assert 15 <= names.count("covey.v1.Classifier/Classify") <= 65  # 40 are expected, with a standard deviation of 6


def test_errors(start_server: StartServer, models: Path, collector: Services) -> None:
    """A caller's mistake is told, and is no error of the server."""
    server = start_server(models)
    with pytest.raises(grpc.RpcError):
        classify(server, model="nothing")
    call = by_name(collector.take(1))["covey.v1.Classifier/Classify"]
    assert attributes(call)["covey.status"] == "NOT_FOUND"
    assert call.status.code == 0


@pytest.mark.parametrize("front", ["native"], indirect=True)
def test_http(start_server: StartServer, models: Path, collector: Services) -> None:
    server = start_server(models)
    headers = {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01", "X-Request-Id": "r-1"}
    body = (
        b'{"inputs":[{"name":"images","datatype":"UINT8","shape":[1,4,4,1],"data":[' + b",".join([b"7"] * 16) + b"]}]}"
    )
    assert ask(server.http_port, "POST", "/v2/models/echo/infer?timeout_ms=9000", body, headers).status == 200
    call = by_name(collector.take(6))["POST /v2/models/{model}/infer"]
    assert call.trace_id.hex() == TRACE_ID
    found = attributes(call)
    assert found["http.request.method"] == "POST"
    assert found["http.route"] == "/v2/models/{model}/infer"
    assert found["url.path"] == "/v2/models/echo/infer"
    assert found["http.response.status_code"] == 200
    assert found["covey.request_id"] == "r-1"


@pytest.mark.timeout(60)  # the exporter would try for minutes
def test_a_collector_that_is_away_keeps_no_server(
    start_server: StartServer, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "300")
    server = start_server(models)
    for _ in range(20):
        classify(server)
    write_all(server)
