"""What tests of several packages share: small real ONNX models, made in milliseconds without torch."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from covey_proto import metadata
from covey_proto.v1 import classifier_pb2 as pb

WriteModel = Callable[..., Path]

# A shell starts a background job with SIGINT ignored, nohup with SIGHUP, and so would all processes that tests stop.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
# Processes that tests start keep their bytecode, whatever the shell says: it is 0.2 s of each server's start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# They buffer what they print, as those of users do: with this variable, what nobody flushes would be seen here only.
os.environ.pop("PYTHONUNBUFFERED", None)

# How long an example takes is the machine's doing.
settings.register_profile("covey", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("covey")

# Networks this small only lose by waiting for a second thread, above all on a busy machine. torch reads it when it is
# imported, also in processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def echo_model(
    shape: tuple[int, int, int],
    labels: Sequence[str],
    *,
    tolerance: float = 1e-6,
    wrong_golden: bool = False,
    info: bool = True,
    hangs_at: int | None = None,
    hang_turns: int = 60_000_000,
    fails_at: int | None = None,
    nan_at: int | None = None,
    gain: float = 1.0,
    shift: int = 0,
    test_accuracy: float = 1.0,
    thresholds: Sequence[float] | None = None,
    known_from: float | None = None,
    resize: pb.ImageSpec.Resize = pb.ImageSpec.RESIZE_STRETCH,
    embedding: bool = False,
) -> onnx.ModelProto:
    """probabilities[n, k] = pixel k of image n / 255: every answer shows whose image it was computed from.

    `hangs_at`: a batch whose largest pixel is that one takes about half a minute, or as many turns as are told.
    `fails_at`: a batch fails that holds an image whose largest pixel is that one.
    `nan_at`: an image whose largest pixel is that one gets NaN. `gain`: of the probabilities, which are none but for 1.
    `test_accuracy`: what the file says of itself.
    `shift`: probability k is pixel k + shift: other weights, which answer otherwise.
    `embedding`: all pixels / 255 are published as one.
    `thresholds`: of independent labels. `known_from`: the probability from which on an image is of a known class.
    `resize`: how images of another size are brought to its own.
    """
    height, width, channels = shape
    classes = len(labels)
    rows = "embedding" if embedding else "rows"
    outputs = {"probabilities": classes} | ({rows: height * width * channels} if embedding else {})
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["scaled"]),
        helper.make_node("Reshape", ["scaled", "flat"], [rows]),
        helper.make_node("Slice", [rows, "start", "stop", "axis"], ["probabilities"]),
    ]
    constants: dict[str, NDArray[np.generic]] = {
        "scale": np.array(gain / 255, np.float32),
        "flat": np.array([-1, height * width * channels]),
        "start": np.array([shift]),
        "stop": np.array([shift + classes]),
        "axis": np.array([1]),
    }
    if hangs_at is not None:
        nodes += _hang(hangs_at)
        constants |= {"trip": np.array(hangs_at, np.uint8), "turns": np.array(hang_turns), "one": np.array(1)}
        constants |= {"begin": np.array(0), "never": np.array(0), "go": np.array(True)}
        nodes[3].output[0] = "sliced"
    if fails_at is not None:
        nodes += _fail()
        constants |= {"trip": np.array(fails_at, np.uint8), "pixels": np.array([1, 2, 3])}
        constants["nothing"] = np.zeros(1, np.float32)
        nodes[3].output[0] = "sliced"
    if nan_at is not None:
        nodes += _not_a_number()
        constants |= {"trip": np.array(nan_at, np.uint8), "pixels": np.array([1, 2, 3]), "column": np.array([-1, 1])}
        constants |= {"nan": np.array(np.nan, np.float32), "nothing": np.zeros(1, np.float32)}
        nodes[3].output[0] = "sliced"
    graph = helper.make_graph(
        nodes,
        "echo",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", height, width, channels])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", columns]) for name, columns in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    if info:
        chance = np.random.default_rng(1)
        pixels = chance.integers(0, 200, (2, height * width * channels), dtype=np.uint8)
        seen = slice(shift, shift + classes)
        pixels[:, seen] = chance.multinomial(255, np.full(classes, 1 / classes), 2)  # adds up to 1
        golden = pixels[:, seen].astype(np.float32) * gain / 255
        if wrong_golden:
            golden = 1 - golden
        described = pb.ModelInfo(
            name="echo",
            version=1,
            labels=labels,
            input=pb.ImageSpec(height=height, width=width, channels=channels, resize=resize),
            training=pb.Training(network="echo", dataset="none", test_accuracy=test_accuracy),
            answer=pb.ModelInfo.ANSWER_UNSPECIFIED if thresholds is None else pb.ModelInfo.ANSWER_INDEPENDENT,
            thresholds=thresholds,
            embedding_size=height * width * channels if embedding else 0,
            unknown=None if known_from is None else pb.Unknown(threshold=known_from),
            golden_set=pb.GoldenSet(
                pixels=pixels.tobytes(), probabilities=golden.ravel().tolist(), tolerance=tolerance
            ),
        )
        model.metadata_props.add(key=metadata.KEY, value=metadata.to_json(described))
    return model


def _hang(pixel: int) -> list[onnx.NodeProto]:
    """Counts to a large number where the pixel is met; adds nothing to the answer."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go_in"], ["go_out"]), helper.make_node("Add", ["sum_in", "one"], ["sum_out"])],
        "count",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum_in", TensorProto.INT64, []),
        ],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum_out", TensorProto.INT64, []),
        ],
    )
    return [
        helper.make_node("ReduceMax", ["images"], ["largest"], keepdims=0),
        helper.make_node("Equal", ["largest", "trip"], ["met"]),
        helper.make_node("Where", ["met", "turns", "never"], ["count"]),
        helper.make_node("Loop", ["count", "go", "begin"], ["counted"], body=body),
        helper.make_node("Less", ["counted", "begin"], ["negative"]),
        helper.make_node("Cast", ["negative"], ["zero"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["sliced", "zero"], ["probabilities"]),
    ]


def _not_a_number() -> list[onnx.NodeProto]:
    """Adds NaN to the rows of images in which the pixel is met."""
    return [
        helper.make_node("ReduceMax", ["images", "pixels"], ["largest"], keepdims=0),
        helper.make_node("Equal", ["largest", "trip"], ["met"]),
        helper.make_node("Where", ["met", "nan", "nothing"], ["added"]),
        helper.make_node("Reshape", ["added", "column"], ["added_rows"]),
        helper.make_node("Add", ["sliced", "added_rows"], ["probabilities"]),
    ]


def _fail() -> list[onnx.NodeProto]:
    """Looks behind the end of a list where the pixel is met; adds nothing to the answer."""
    return [
        helper.make_node("ReduceMax", ["images", "pixels"], ["largest"], keepdims=0),
        helper.make_node("Equal", ["largest", "trip"], ["met"]),
        helper.make_node("Cast", ["met"], ["met_numbers"], to=TensorProto.INT64),
        helper.make_node("ReduceMax", ["met_numbers"], ["any_met"], keepdims=0),
        helper.make_node("Gather", ["nothing", "any_met"], ["zero"]),
        helper.make_node("Add", ["sliced", "zero"], ["probabilities"]),
    ]


@pytest.fixture(autouse=True)
def _the_same_random_numbers() -> None:
    """For each test, whichever ran before it in its process; torch is not imported for that."""
    random.seed(0)
    np.random.seed(0)
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(0)


@pytest.fixture(scope="session")
def write_echo_model() -> WriteModel:
    """Writes an echo model to `folder/name/version/model.onnx`; answers the file's path."""

    def write(
        folder: Path,
        name: str = "echo",
        version: int = 1,
        shape: tuple[int, int, int] = (4, 4, 1),
        classes: int = 10,
        **options: Any,
    ) -> Path:
        path = folder / name / str(version) / "model.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        labels = [f"class {index}" for index in range(classes)]
        path.write_bytes(echo_model(shape, labels, **options).SerializeToString())
        return path

    return write
