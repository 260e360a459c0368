"""A mosec server of one model, for comparison: runs in an environment of its own, without Covey.

    python mosec_worker.py --port P        with MODEL, WORKERS, BATCH and WAIT_MS in the environment

Written as mosec's documentation has it, for speed: a request's body is the pixels themselves, batches are formed by
mosec, an answer is msgpack of the five best classes, onnxruntime has the options of Covey's engine.
"""

# mypy: disable-error-code="import-not-found, misc"

import os

import msgspec
import numpy as np
from mosec import Server, Worker

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime

TOP_K = 5
MODEL = os.environ["MODEL"]
WORKERS = int(os.environ["WORKERS"])
BATCH = int(os.environ["BATCH"])
WAIT_MS = int(os.environ["WAIT_MS"])


class Classify(Worker):
    """One process with one session."""

    def __init__(self) -> None:
        super().__init__()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])
        self._shape = tuple(self._session.get_inputs()[0].shape[1:])
        self._encode = msgspec.msgpack.Encoder().encode

    def deserialize(self, data: bytes) -> bytes:
        return data

    def forward(self, data: list[bytes]) -> list[tuple[list[int], list[float]]]:
        images = np.frombuffer(b"".join(data), np.uint8).reshape(-1, *self._shape)
        probabilities = self._session.run(["probabilities"], {"images": images})[0]
        order = (-probabilities).argsort(axis=1, kind="stable")[:, :TOP_K]
        best = np.take_along_axis(probabilities, order, axis=1)
        return list(zip(order.tolist(), best.tolist(), strict=True))

    def serialize(self, data: tuple[list[int], list[float]]) -> bytes:
        encoded: bytes = self._encode(data)
        return encoded


if __name__ == "__main__":
    server = Server()
    server.append_worker(Classify, num=WORKERS, max_batch_size=BATCH, max_wait_time=WAIT_MS)
    server.run()
