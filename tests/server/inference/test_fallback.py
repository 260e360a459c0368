"""No fallback is silent: a build of onnxruntime that promises CUDA, on a machine where it does not work.

Only the list of providers is made up; the probe really tries, with the onnxruntime that is installed here.
"""

from __future__ import annotations

import io
import logging
from pathlib import Path

import pytest
from bench.processes import fetch
from tests.conftest import WriteModel
from tests.server.conftest import StartServer

from covey_proto.v1 import classifier_pb2 as pb
from covey_server.app import App
from covey_server.check import print_findings
from covey_server.config import Config
from covey_server.errors import DeviceUnavailable
from covey_server.inference import engine
from covey_server.inference.devices import CPU_PROVIDER, CUDA_PROVIDER

pytestmark = pytest.mark.skipif(
    CUDA_PROVIDER in engine.available_providers(), reason="CUDA may really work with this onnxruntime"
)


@pytest.fixture(autouse=True)
def promised_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "available_providers", lambda: [CUDA_PROVIDER, CPU_PROVIDER])


def test_cuda_refuses_to_start(tmp_path: Path, write_echo_model: WriteModel) -> None:
    write_echo_model(tmp_path)
    with pytest.raises(DeviceUnavailable, match="device cuda:0"):
        App(Config(models=tmp_path, device="cuda", grpc_port=0, metrics_port=0))


def test_auto_says_so_in_log_metrics_model_and_answers(
    tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel, caplog: pytest.LogCaptureFixture
) -> None:
    write_echo_model(tmp_path)
    with caplog.at_level(logging.WARNING):
        server = start_server(tmp_path, device="auto")
    assert "running on cpu in place of CUDA: device cuda:0" in caplog.text
    assert "covey_device_fallback 1.0" in fetch(server.metrics_url)
    found = pb.GetModelResponse.FromString(server.ask("GetModel", b"")).model.serving
    assert (found.device, found.provider) == ("cpu", CPU_PROVIDER)
    assert "device cuda:0" in found.device_fallback
    answer = server.classify(pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(16))))
    assert answer.timing.device == "cpu"


def test_check_says_so(tmp_path: Path, write_echo_model: WriteModel) -> None:
    write_echo_model(tmp_path)
    output = io.StringIO()
    assert print_findings(Config(models=tmp_path, device="auto"), output) == 0
    assert "in place of CUDA: device cuda:0" in output.getvalue()


def test_the_cpu_that_was_asked_for_is_no_fallback(
    tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path)
    server = start_server(tmp_path, device="cpu")
    assert "covey_device_fallback 0.0" in fetch(server.metrics_url)
