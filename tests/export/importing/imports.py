"""Runs `covey import` in this process, and looks at what it published as a server does."""

from __future__ import annotations

import queue
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from covey_export.__main__ import main
from covey_server.inference import golden, model_file
from covey_server.inference.devices import CPU
from covey_server.inference.engine import Engine
from covey_server.inference.model_file import Description
from covey_server.inference.model_loader import ModelLoader


@dataclass(frozen=True)
class Served:
    """A published model, loaded."""

    engine: Engine
    description: Description


def run(source: Path, models: Path, *options: object) -> int:
    """The exit code of an import as model `net`."""
    return main(["import", str(source), "--name", "net", "--models", str(models), *map(str, options)])


def published(source: Path, models: Path, *options: object, version: int = 1) -> Served:
    """Imports and loads it, golden check and all."""
    assert run(source, models, *options) == 0
    engine = Engine(models / "net" / str(version) / "model.onnx")
    description = model_file.describe(engine)
    golden.check(engine, description.golden)
    return Served(engine, description)


def refused(source: Path, models: Path, capsys: pytest.CaptureFixture[str], *options: object) -> str:
    """The message of an import that fails; it must be one line, and leave nothing behind."""
    before = set(models.rglob("*")) if models.exists() else set()
    assert run(source, models, *options) == 2
    after = set(models.rglob("*")) if models.exists() else set()
    assert after == before
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("covey-export: ")
    assert not any(noise in line for noise in ("ONNXRuntimeError", "onnxruntime_src", "/proc/self")), line
    return line


def images(count: int, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Noise."""
    return np.random.default_rng(3).integers(0, 256, (count, *shape), dtype=np.uint8)


def original(source: Path, prepared: NDArray[np.generic], output: str | None = None) -> NDArray[np.float32]:
    """What the file itself gives."""
    session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    outputs: NDArray[np.float32] = session.run([output or session.get_outputs()[0].name], {entry.name: prepared})[0]
    return outputs.reshape(len(prepared), -1).astype(np.float32)


def by_own_input(models: Path, values: NDArray[np.generic]) -> NDArray[np.float32]:
    """What the imported model `net` gives for its original input."""
    original = ModelLoader(CPU, threads=1, max_batch_size=4)("net", 1, models / "net" / "1" / "model.onnx").original
    assert original is not None
    started: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()
    original.engine.when_open(started.put)
    assert started.get(timeout=60) is None
    return original.run(np.ascontiguousarray(values).view(np.uint8).reshape(len(values), 1, 1, -1))


def softmax(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    powers = np.exp(scores.astype(np.float64) - scores.max(axis=1, keepdims=True))
    result: NDArray[np.float32] = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    return result
