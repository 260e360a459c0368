"""Many callers at once, each with one image per request: for demonstrations and correctness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.processes import CALL_TIMEOUT_S, CLASSIFY, BenchError
from covey_load.channel import Order
from covey_load.processes import Generators
from covey_load.recording import record
from covey_load.remote import Remote
from covey_load.wire.frames import MESSAGE_PREFIX_BYTES
from covey_proto.v1.classifier_pb2 import ClassifyRequest, ClassifyResponse, Pixels


@dataclass(frozen=True)
class Answers:
    """One entry per image, in order. `latencies_ms` are in the order of the answers, as the callers saw them."""

    indices: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    latencies_ms: NDArray[np.float64]
    per_second: float


def classify_each(target: str, model: str, images: NDArray[np.uint8], callers: int = 64) -> Answers:
    """Classifies `images [N, H, W, C] uint8` one by one, `callers` at a time. Raises BenchError where a call fails."""
    remote = Remote(target, CALL_TIMEOUT_S * 1_000)
    messages = [
        ClassifyRequest(model=model, top_k=1, pixels=Pixels(data=image.tobytes())).SerializeToString()
        for image in images
    ]
    order = Order(
        remote.endpoint,
        remote.requests(CLASSIFY, messages),
        timeout_s=CALL_TIMEOUT_S,
        calls=len(images),
        in_flight=callers,
        keep_answers=True,
    )
    with Generators(1) as generators:
        calls = record(generators, [order])
    if calls.failures:
        raise BenchError(f"{calls.failures} of {calls.calls} calls failed: {dict(calls.by_status())}")
    indices, probabilities = np.zeros(len(images), np.int64), np.zeros(len(images))
    for number, answer in calls.answers:
        best = ClassifyResponse.FromString(answer[MESSAGE_PREFIX_BYTES:]).results[0].classes[0]
        indices[number], probabilities[number] = best.index, best.probability
    return Answers(indices, probabilities, calls.response_ms, calls.calls_per_s)
