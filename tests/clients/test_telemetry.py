"""OpenTelemetry's own gRPC instrumentation, switched on as its documentation says, takes to both clients."""

from __future__ import annotations

import json
import subprocess
import sys

# A process of its own: the instrumentation changes grpc for everybody, and a tracer provider can be set only once.
PROGRAM = """
import asyncio, json
from concurrent.futures import ThreadPoolExecutor

import grpc
from opentelemetry import trace
from opentelemetry.instrumentation.grpc import GrpcAioInstrumentorClient, GrpcInstrumentorClient
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import covey
from covey_proto.v1 import classifier_pb2 as pb

exporter, provider, arrived = InMemorySpanExporter(), TracerProvider(), []
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
GrpcInstrumentorClient().instrument()
GrpcAioInstrumentorClient().instrument()
tracer = trace.get_tracer("application")

def classify(request, context):
    arrived.append(dict(context.invocation_metadata())["traceparent"])
    return pb.ClassifyResponse(results=[pb.Result(classes=[pb.Class(label="cat")])])

handler = grpc.unary_unary_rpc_method_handler(
    classify, pb.ClassifyRequest.FromString, pb.ClassifyResponse.SerializeToString
)
server = grpc.server(ThreadPoolExecutor(1))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("covey.v1.Classifier", {"Classify": handler}),))
target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
server.start()

with covey.Client(target) as client, tracer.start_as_current_span("sync"):
    assert client.classify(b"cat").label == "cat"

async def main():
    async with covey.AsyncClient(target) as client:
        with tracer.start_as_current_span("async"):
            assert (await client.classify(b"cat")).label == "cat"

asyncio.run(main())
server.stop(None).wait()
spans = [
    {"name": span.name, "kind": span.kind.name, "trace": f"{span.context.trace_id:032x}",
     "span": f"{span.context.span_id:016x}", "parent": span.parent and f"{span.parent.span_id:016x}"}
    for span in exporter.get_finished_spans()
]
print(json.dumps({"spans": spans, "arrived": arrived}))
"""


def test_calls_become_spans_whose_context_reaches_the_server() -> None:
    command = [sys.executable, "-W", "error", "-c", PROGRAM]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout)
    calls = [span for span in told["spans"] if span["kind"] == "CLIENT"]
    around = {span["name"]: span for span in told["spans"] if span["kind"] == "INTERNAL"}
    assert [call["name"] for call in calls] == ["/covey.v1.Classifier/Classify"] * 2
    assert [call["parent"] for call in calls] == [around["sync"]["span"], around["async"]["span"]]
    without_flags = [traceparent[:-3] for traceparent in told["arrived"]]
    assert without_flags == [f"00-{call['trace']}-{call['span']}" for call in calls]
