"""The Open Inference Protocol beside Covey's own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench import samples
from bench.load import Caller, measure_load, put_load
from bench.raw_onnxruntime import RawOnnxruntime
from bench.rows import Goal, Row, make_row
from bench.run import Run
from bench.scenarios.single_images import MANY
from covey_proto.inference.open_inference_pb2 import ModelInferRequest

MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"


def open_inference(run: Run, model: str, goal: Goal) -> list[Row]:
    """Server CPU per request of the Open Inference Protocol, against Covey's own protocol, for the same images."""
    scenario = f"{model}, {MANY} in flight, ModelInfer"
    golden = samples.golden(RawOnnxruntime(run.models.file(model)))
    own = samples.messages(samples.single_images(model, golden))
    standard = [_infer(model, image) for image in golden.pixels]
    caller = Caller(MODEL_INFER)
    owns, standards = [], []
    with run.server([model]) as server:
        put_load(server, own, MANY, run.seconds / 2)
        put_load(server, standard, MANY, run.seconds / 2, caller)
        for _ in run.each_round(scenario):
            owns.append(measure_load(server, own, MANY, run.seconds))
            standards.append(measure_load(server, standard, MANY, run.seconds, caller))
    cpu, floors = [load.cpu_us for load in standards], [load.cpu_us for load in owns]
    return [
        make_row(scenario, "server CPU", "us/request", cpu, floors, goal, against="Classify"),
        make_row(scenario, "throughput", "requests/s", [load.calls.calls_per_s for load in standards]),
        make_row(scenario, "latency p99", "us", [load.service_us(99) for load in standards]),
    ]


def _infer(model: str, image: NDArray[np.uint8]) -> bytes:
    tensor = ModelInferRequest.InferInputTensor(name="images", datatype="UINT8", shape=(1, *image.shape))
    return ModelInferRequest(
        model_name=model, inputs=[tensor], raw_input_contents=[image.tobytes()]
    ).SerializeToString()
