"""One model in onnxruntime: the threads it gets, the device it really runs on, and answers of a wrong shape."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from tests.conftest import WriteModel

from covey_server.errors import DeviceUnavailable, EngineFailed
from covey_server.inference.devices import CPU, CUDA_PROVIDER, Device
from covey_server.inference.engine import Engine, available_providers, probe

CUDA = Device("cuda:0", CUDA_PROVIDER)


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
@pytest.mark.parametrize("threads", [1, 3])
def test_a_session_has_as_many_threads_as_it_is_told(
    tmp_path: Path, write_echo_model: WriteModel, threads: int
) -> None:
    path = write_echo_model(tmp_path)
    Engine(path, CPU, 1)  # what is started once for all sessions
    before = set(Path("/proc/self/task").iterdir())
    engine = Engine(path, CPU, threads)
    started = set(Path("/proc/self/task").iterdir()) - before
    assert engine.threads == threads
    assert len(started) == threads - 1  # the one that calls is the first


def test_an_answer_of_a_wrong_shape_is_no_answer(tmp_path: Path, write_echo_model: WriteModel) -> None:
    path = write_echo_model(tmp_path)
    model = onnx.load(path)
    model.graph.node[-1].output[0] = "all"
    last = onnx.helper.make_tensor("last", onnx.TensorProto.INT64, [1], [1])
    rows = onnx.helper.make_tensor("axis of rows", onnx.TensorProto.INT64, [1], [0])
    model.graph.initializer.extend([last, rows])
    model.graph.node.append(onnx.helper.make_node("Slice", ["all", "start", "last", "axis of rows"], ["probabilities"]))
    path.write_bytes(model.SerializeToString())
    engine = Engine(path)
    assert engine.run(np.zeros((1, 4, 4, 1), np.uint8)).shape == (1, 10)
    with pytest.raises(EngineFailed, match=r"the model answered \(1, 10\) for a batch of 3"):
        engine.run(np.zeros((3, 4, 4, 1), np.uint8))


@pytest.mark.skipif(CUDA_PROVIDER in available_providers(), reason="this build of onnxruntime has CUDA")
@pytest.mark.filterwarnings("ignore:Specified provider")  # onnxruntime's own; then it takes the CPU
def test_a_session_on_another_device_than_was_asked_for_is_refused(
    tmp_path: Path, write_echo_model: WriteModel
) -> None:
    path = write_echo_model(tmp_path)
    with pytest.raises(DeviceUnavailable, match="gave CPUExecutionProvider in place of CUDA"):
        Engine(path, CUDA)
    with pytest.raises(DeviceUnavailable, match="gave CPUExecutionProvider in place of CUDA"):
        probe(CUDA)
