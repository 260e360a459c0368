"""The Open Inference Protocol beside Covey's own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench import samples
from bench.load import Caller
from bench.raw_onnxruntime import RawOnnxruntime
from bench.rows import Goal, Row
from bench.run import Run
from bench.scenarios.rounds import MANY, Side, cpu_row, rows, take_turns
from covey_proto.inference.open_inference_pb2 import ModelInferRequest

MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"


def open_inference(run: Run, model: str, goal: Goal) -> list[Row]:
    """Server CPU per request of the Open Inference Protocol, against Covey's own protocol, for the same images."""
    scenario = f"{model}, {MANY} in flight, ModelInfer"
    golden = samples.golden(RawOnnxruntime(run.models.file(model)))
    classify_messages = samples.messages(samples.single_images(model, golden))
    infer_messages = [_infer(model, image) for image in golden.pixels]
    with run.server([model]) as server:
        sides = Side(server, classify_messages), Side(server, infer_messages, caller=Caller(MODEL_INFER))
        classify_loads, infer_loads = take_turns(run, scenario, *sides)
    floors = [load.cpu_us for load in classify_loads]
    return [
        cpu_row(scenario, infer_loads, floors, goal, "Classify"),
        *rows(scenario, infer_loads, "throughput", "latency p99"),
    ]


def _infer(model: str, image: NDArray[np.uint8]) -> bytes:
    tensor = ModelInferRequest.InferInputTensor(name="images", datatype="UINT8", shape=(1, *image.shape))
    return ModelInferRequest(
        model_name=model, inputs=[tensor], raw_input_contents=[image.tobytes()]
    ).SerializeToString()
