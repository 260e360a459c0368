"""Where the steps run: the device, the models, and servers of them."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import grpc
import numpy as np
from bench.processes import CLASSIFY, Server, covey_server
from numpy.typing import NDArray
from tests.gpu.steps import Figures, Skipped

from covey_load.runner import cpu_name
from covey_proto.v1.classifier_pb2 import ClassifyRequest, ClassifyResponse, Pixels
from covey_server.inference.devices import Device

MODEL = "network"


@dataclass(frozen=True)
class Place:
    """`models` holds the model `network` of images of `size` pixels squared; `folder` is for whatever a step needs."""

    device: Device
    models: Path
    folder: Path
    size: int
    seconds: float  # of one load

    @property
    def file(self) -> Path:
        """The file of the model."""
        return self.models / MODEL / "1" / "model.onnx"

    def require_cuda(self) -> None:
        """Raises Skipped on the CPU."""
        if not self.device.is_cuda:
            raise Skipped("no CUDA device works here; this runs on the CPU")

    @contextmanager
    def server(self, models: Path | None = None, *flags: str) -> Iterator[Server]:
        """A server on the device, strictly; its log lies in `folder`."""
        name = self.device.name.replace(":", "-")
        wanted = ("--device", self.device.name, *flags)
        with covey_server(models or self.models, "native", self.folder / f"{name}.log", wanted) as server:
            yield server


@contextmanager
def channel(server: Server) -> Iterator[grpc.Channel]:
    """A connection of its own."""
    options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(server.target, options) as found:
        yield found


def classify(
    connection: grpc.Channel, images: NDArray[np.uint8], model: str = MODEL, top_k: int = 1
) -> ClassifyResponse:
    """One call. Raises grpc.RpcError."""
    request = ClassifyRequest(model=model, top_k=top_k, pixels=Pixels(data=images.tobytes()))
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = connection.unary_unary(CLASSIFY)
    return ClassifyResponse.FromString(call(request.SerializeToString(), timeout=60))


def probabilities(answer: ClassifyResponse, classes: int) -> NDArray[np.float64]:
    """The rows `[N, K]` of an answer that tells all classes."""
    rows = np.full((len(answer.results), classes), np.nan)
    for row, result in zip(rows, answer.results, strict=True):
        for each in result.classes:
            row[each.index] = each.probability
    return rows


def describe(device: Device) -> Figures:
    """The machine, the device and the libraries."""
    packages = ("onnxruntime", "onnxruntime-gpu", "numpy", "covey-serve")
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "device": device.name,
        "fallback": device.fallback,
        "gpu": _gpus(),
        "packages": {name: _version(name) for name in packages},
    }


def _gpus() -> Sequence[str]:
    asked = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, timeout=30, check=True).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return []


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
