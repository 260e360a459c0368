"""Calls as OpenTelemetry spans, sent to a collector by OTLP.

A traced call is a span with a child for each of its parts: decode, queue, compute, answer. Requests share batches, so a
batch is a span of its own, to which `compute` has a link. The parent comes from the caller's W3C `traceparent`, whose
sampling decision is kept. Settings are OpenTelemetry's own variables, OTEL_*; docs/logs-and-traces.md names those that
matter.

Spans are made from a call's time stamps after its answer, so that tracing costs callers next to nothing.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from covey_proto import __version__
from covey_server.calls.record import Record
from covey_server.errors import InvalidConfiguration

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

_MAX_BATCHES = 256  # whose spans are kept for further requests of theirs
_FLUSH_S = 2.0
_PROPAGATOR = TraceContextTextMapPropagator()
Value = str | int | float


class Traces:
    """Makes spans of records, all on one thread."""

    def __init__(self, exporter: SpanExporter) -> None:
        resource = Resource.create({SERVICE_NAME: os.environ.get("OTEL_SERVICE_NAME", "covey-server")})
        # Calls are chosen before they are handled, so every span that is made is sent.
        self._provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer: Tracer = self._provider.get_tracer("covey_server", __version__)
        self._batches: OrderedDict[tuple[str, int, int], SpanContext] = OrderedDict()

    def add(self, record: Record) -> str:
        """Makes the spans of a call, and returns the trace's id."""
        traceparent, tracestate = record.parent
        epoch_ns = time.time_ns() - time.monotonic_ns()  # each time: clocks are set
        carrier = {"traceparent": traceparent, "tracestate": tracestate}
        context = _PROPAGATOR.extract({name: value for name, value in carrier.items() if value}, context=Context())
        span = self._tracer.start_span(
            record.route.lstrip("/") or "HTTP",
            context,
            kind=SpanKind.SERVER,
            attributes=_attributes(record),
            start_time=record.arrived_ns + epoch_ns,
        )
        if record.status in ("INTERNAL", "UNAVAILABLE"):
            # A caller's mistake is no error of the server's span, by the semantic conventions.
            span.set_status(Status(StatusCode.ERROR, record.message))
        inside = set_span_in_context(span, Context())
        for name, begin_ns, end_ns in record.parts:
            links = (Link(self._batch(record, epoch_ns)),) if name == "compute" else ()
            part = self._tracer.start_span(name, inside, links=links, start_time=begin_ns + epoch_ns)
            part.end(end_ns + epoch_ns)
        span.end(record.ended_ns + epoch_ns)
        return f"{span.get_span_context().trace_id:032x}"

    def close(self) -> None:
        """Sends what there is, within seconds: without a collector the exporter would try for longer."""
        closing = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        closing.start()
        closing.join(_FLUSH_S)

    def _batch(self, record: Record, epoch_ns: int) -> SpanContext:
        """The span of the batch that a request ran in; made for the first of its requests that is traced."""
        key = record.model, record.version, record.started_ns
        context = self._batches.get(key)
        if context is None:
            attributes: dict[str, Value] = {
                "covey.model": record.model,
                "covey.version": record.version,
                "covey.batch_size": record.batch_size,
            }
            span = self._tracer.start_span(
                "batch", Context(), attributes=attributes, start_time=record.started_ns + epoch_ns
            )
            span.end(record.computed_ns + epoch_ns)
            context = self._batches[key] = span.get_span_context()
            if len(self._batches) > _MAX_BATCHES:
                self._batches.popitem(last=False)
        return context


def open_exporter(environment: Mapping[str, str]) -> SpanExporter:
    """The exporter that the environment names. Raises InvalidConfiguration."""
    chosen = environment.get("OTEL_TRACES_EXPORTER", "").lower() or "otlp"
    protocol = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if chosen != "otlp":
        raise InvalidConfiguration(f"OTEL_TRACES_EXPORTER={chosen!r}: expected otlp or none")
    if protocol in (None, "", "grpc"):
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter()
    if protocol == "http/protobuf":
        over_http: SpanExporter = import_module(
            "opentelemetry.exporter.otlp.proto.http.trace_exporter"
        ).OTLPSpanExporter()
        return over_http
    raise InvalidConfiguration(f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol!r}: expected grpc or http/protobuf")


def _attributes(record: Record) -> dict[str, Value]:
    """By OpenTelemetry's semantic conventions, and Covey's own under `covey.`."""
    found: dict[str, Value] = {
        "network.peer.address": record.peer,
        "enduser.id": record.principal,
        "covey.request_id": record.request_id,
        "covey.model": record.model,
        "covey.version": record.version,
        "covey.images": record.images,
        "covey.batch_size": record.batch_size,
        "covey.status": record.status,
        "covey.error": record.message,
    }
    if record.http:
        method, _, target = record.method.partition(" ")
        found |= {
            "http.request.method": method,
            "http.route": record.route.partition(" ")[2],
            "url.path": target.partition("?")[0],
            "http.response.status_code": record.http,
        }
    else:
        service, _, method = record.method.lstrip("/").partition("/")
        found |= {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
    return {name: value for name, value in found.items() if value}
