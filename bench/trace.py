"""One picture on its way through the SDK and the server, by gRPC and by HTTP, as a collector receives it.

    python -m bench.trace IMAGE [--models models] [--output docs/trace.png]

A collector of OpenTelemetry's protocol runs in this process. What it was sent is drawn, and printed with its times.
"""

from __future__ import annotations

import argparse
import queue
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import grpc
from matplotlib.figure import Figure
from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.grpc import GrpcInstrumentorClient
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

import covey
from bench.picture import write_png
from bench.processes import started_server

WARMING = 50  # calls before the one that is drawn
_SPANS = 2 * (1 + 1 + 4 + 1) + 1  # of each call: the caller's, the server's, its parts, the batch; the SDK's by gRPC
_WAIT_S = 20.0
_COLOURS = {"decode": "#E69F00", "queue": "#D55E00", "compute": "#0072B2", "answer": "#009E73", "batch": "#56B4E9"}


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps the spans that it is sent."""

    def __init__(self) -> None:
        self.spans: queue.Queue[Span] = queue.Queue()

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802, ANN401 - as the generated class
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans.put(span)
        return trace_service_pb2.ExportTraceServiceResponse()

    def take(self, count: int) -> list[Span]:
        """The next spans, in the order in which they began. Raises queue.Empty where they do not come."""
        return sorted(
            (self.spans.get(timeout=_WAIT_S) for _ in range(count)), key=lambda span: span.start_time_unix_nano
        )


@contextmanager
def collecting(collector: Collector) -> Iterator[str]:
    """The address at which the collector is sent spans."""
    server = grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop(0)


def call_twice(image: bytes, grpc_target: str, http_target: str, address: str) -> None:
    """Classifies an image by the SDK over gRPC, then by a plain request over HTTP, each within a span of the caller."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=address, insecure=True)))
    trace.set_tracer_provider(provider)  # the instrumentation heeds this one only
    tracer = trace.get_tracer("bench.trace")
    url = f"http://{http_target}/v1/models/{{}}/classify"
    with covey.Client(grpc_target) as client:
        model = client.models()[0].name
        for _ in range(WARMING):
            client.classify(image, model=model)
            urlopen(Request(url.format(model), data=image, method="POST")).read()
    GrpcInstrumentorClient().instrument()  # type: ignore[no-untyped-call]
    with covey.Client(grpc_target) as client:
        with suppress_instrumentation():
            client.classify(image, model=model)  # connects
        with tracer.start_as_current_span("classify, SDK"):
            client.classify(image, model=model)
    with tracer.start_as_current_span("classify, HTTP"):
        headers: dict[str, str] = {}
        propagate.inject(headers)
        urlopen(Request(url.format(model), data=image, headers=headers, method="POST")).read()
    provider.shutdown()


def rows(spans: Sequence[Span]) -> list[tuple[Span, int]]:
    """Spans below their parents, each with its depth. A batch, which is in a trace of its own, stands below the part
    that links to it."""
    linked = {link.span_id: span.span_id for span in spans for link in span.links}
    parents = {span.span_id: linked.get(span.span_id, span.parent_span_id) for span in spans}

    def below(parent: bytes, depth: int) -> Iterator[tuple[Span, int]]:
        for span in spans:
            if parents[span.span_id] == parent or (not depth and parents[span.span_id] not in parents):
                yield span, depth
                yield from below(span.span_id, depth + 1)

    return list(below(b"", 0))


def duration_us(span: Span) -> float:
    return (span.end_time_unix_nano - span.start_time_unix_nano) / 1000


def draw(spans: Sequence[tuple[Span, int]], path: Path) -> None:
    """A bar for each span, against the time of its call. Replaces `path` in one step."""
    figure = Figure(figsize=(10, 0.9 + 0.32 * len(spans)), layout="constrained")
    axes = figure.add_subplot()
    began = 0
    for index, (span, depth) in enumerate(spans):
        began = began if depth else span.start_time_unix_nano
        left = (span.start_time_unix_nano - began) / 1000
        axes.barh(index, duration_us(span), left=left, color=_COLOURS.get(span.name, "#888888"), height=0.7)
        axes.text(left + duration_us(span), index, f" {duration_us(span):,.0f} us", va="center", fontsize=8)
    axes.set_yticks(range(len(spans)), [f"{'    ' * depth}{span.name}" for span, depth in spans], fontsize=8)
    for label in axes.get_yticklabels():
        label.set_horizontalalignment("left")
    axes.tick_params(axis="y", pad=215, length=0)
    axes.invert_yaxis()
    axes.margins(x=0.09)
    axes.set_xlabel("us from the beginning of each call")
    write_png(figure, path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints and draws the traces; 0."""
    parser = argparse.ArgumentParser(prog="python -m bench.trace", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("image", type=Path, metavar="IMAGE")
    parser.add_argument("--models", type=Path, default=Path("models"), metavar="DIR", help="(default: models)")
    parser.add_argument("--output", type=Path, default=Path("trace.png"), metavar="FILE", help="(default: trace.png)")
    options = parser.parse_args(arguments)
    collector = Collector()
    with collecting(collector) as address, tempfile.TemporaryDirectory() as logs:
        # Calls without a caller's decision are not traced: those that warm the server.
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": address,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "OTEL_TRACES_SAMPLER": "parentbased_always_off",
        }
        command = [sys.executable, "-m", "covey_server", "--models", str(options.models)]
        command += ["--grpc-port", "0", "--http-port", "0", "--metrics-port", "0"]
        with started_server(command, Path(logs) / "server.log", environment) as (_, grpc_target, _, http_target):
            call_twice(options.image.read_bytes(), grpc_target, http_target, address)
            spans = rows(collector.take(_SPANS))
    for span, depth in spans:
        print(f"{'  ' * depth}{span.name:{44 - 2 * depth}} {duration_us(span):8,.1f} us")
    draw(spans, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
