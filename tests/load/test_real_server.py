"""Load on Covey's own server: its protocols over gRPC and HTTP, what it tells of itself, and the way with TLS and a
token."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import PIL.Image
import pytest
from bench.processes import READY, fetch, own_process
from prometheus_client.parser import text_string_to_metric_families
from tests.certificates import Authority
from tests.conftest import WriteModel
from tests.export.importing.onnx_models import small_cnn

from covey import TLS, cli
from covey.errors import InvalidInput, UnknownModel
from covey_export.__main__ import main
from covey_load.observation import affinity
from covey_load.plan import Plan, ProtocolName
from covey_load.reports import json_file
from covey_load.runner import run

TOKEN = "token-of-these-tests"


class Server(NamedTuple):
    grpc: str
    http: str
    metrics_url: str
    pid: int

    @property
    def target(self) -> str:
        return self.grpc

    def target_of(self, protocol: ProtocolName) -> str:
        return self.http if protocol.is_http else self.grpc


SERVER = (sys.executable, "-m", "covey_server")


def started(folder: Path, models: Path, *flags: str, program: Sequence[str] = SERVER) -> Iterator[Server]:
    command = [*program, "--models", str(models), *flags]
    with own_process([*command, "--grpc-port", "0", "--metrics-port", "0"], folder / "log") as process:
        assert process.stdout is not None
        ready = READY.match(process.stdout.readline())
        assert ready is not None, (folder / "log").read_text()
        yield Server(ready["grpc"], ready["http"], f"http://{ready['metrics']}/metrics", process.pid)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, write_echo_model: WriteModel) -> Path:
    folder = tmp_path_factory.mktemp("load")
    for name in ("one", "two"):
        write_echo_model(folder / "models", name)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    yield from started(folder, folder / "models", "--default-model", "one")


@pytest.mark.parametrize("protocol", [ProtocolName.COVEY, ProtocolName.HTTP])
def test_its_own_protocol_tells_where_the_time_went(server: Server, protocol: ProtocolName) -> None:
    plan = Plan(
        server.target_of(protocol), protocol=protocol, concurrencies=(16,), calls=4000, warm_up_s=0,
        metrics_url=server.metrics_url, slo_ms=5_000,
    )  # fmt: skip
    report = run(plan)
    (measured,) = report.runs
    assert (measured.errors, report.protocol, report.server["model"]) == ({}, protocol, "one version 1")
    assert measured.calls == measured.response.count == measured.images > 100
    assert measured.timing is not None
    assert set(measured.timing.mean_ms) == {"decode", "queue", "compute", "total", "outside"}
    assert sum(measured.timing.batch_sizes.values()) == measured.calls
    inside = sum(measured.timing.mean_ms[part] for part in ("decode", "queue", "compute"))
    assert inside == pytest.approx(measured.timing.mean_ms["total"], rel=0.05)
    assert measured.metrics is not None
    assert measured.metrics.requests == measured.metrics.client_calls >= measured.calls
    assert measured.server_process is not None
    assert measured.server_process.pid == server.pid
    assert measured.server_process.peak_memory_bytes > 20e6
    assert measured.server_process.cores_used is not None
    assert 0 < measured.server_process.cores_used < 64
    assert 0 < measured.generator.cpu_us_per_call < 5_000
    assert measured.goodput_per_s == pytest.approx(measured.calls_per_s)


@pytest.mark.parametrize("protocol", [ProtocolName.OIP, ProtocolName.OIP_HTTP])
def test_the_open_inference_protocol_reaches_the_same_models(server: Server, protocol: ProtocolName) -> None:
    target = server.target_of(protocol)
    report = run(Plan(target, protocol=protocol, models={"two": 1.0}, rates=(200,), seconds=0.5, warm_up_s=0))
    (measured,) = report.runs
    assert (measured.errors, measured.timing) == ({}, None)
    assert measured.calls == measured.response.count > 50
    assert report.server["server"].startswith("covey ")
    with pytest.raises(UnknownModel, match="three"):
        run(Plan(target, protocol=protocol, models={"three": 1.0}, rates=(1,)))


def test_a_mix_of_models_is_sent_by_its_weights(server: Server) -> None:
    plan = Plan(
        server.target,
        models={"one": 3.0, "two": 1.0},
        concurrencies=(4,),
        calls=2_000,
        warm_up_s=0,
        metrics_url=server.metrics_url,
    )
    previous = calls_by_model(server)
    (measured,) = run(plan).runs
    increases = {name: count - previous.get(name, 0) for name, count in calls_by_model(server).items()}
    assert measured.errors == {}
    assert increases["one"] + increases["two"] == 2_002  # one of each was tried before
    assert increases["one"] / 2_002 == pytest.approx(0.75, abs=0.05)


def calls_by_model(server: Server) -> dict[str, int]:
    counts: dict[str, int] = {}
    for family in text_string_to_metric_families(fetch(server.metrics_url)):
        for sample in family.samples:
            if sample.name == "covey_requests_total" and sample.labels["model"]:
                name = sample.labels["model"]
                counts[name] = counts.get(name, 0) + int(sample.value)
    return counts


@pytest.mark.parametrize("protocol", ProtocolName)
def test_image_files_are_sent_as_they_are(server: Server, tmp_path: Path, protocol: ProtocolName) -> None:
    for number in range(3):
        PIL.Image.fromarray(np.full((30, 20), number, np.uint8)).save(tmp_path / f"{number}.png")
    plan = Plan(
        server.target_of(protocol), protocol=protocol, models={"one": 1.0}, payload=str(tmp_path), concurrencies=(2,),
        calls=50, warm_up_s=0,
    )  # fmt: skip
    (measured,) = run(plan).runs
    assert (measured.response.count, measured.errors) == (50, {})


@pytest.mark.parametrize("protocol", [ProtocolName.COVEY, ProtocolName.HTTP])
def test_a_file_that_is_no_image_is_found_before_the_load(
    server: Server, tmp_path: Path, protocol: ProtocolName
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image at all")
    target = server.target_of(protocol)
    with pytest.raises(InvalidInput, match="the server cannot read an image of the payload"):
        run(Plan(target, protocol=protocol, payload=str(tmp_path), concurrencies=(2,)))
    with pytest.raises(UnknownModel, match="nobody"):
        run(Plan(target, protocol=protocol, models={"nobody": 1.0}, concurrencies=(2,)))


def test_a_url_is_measured_over_http_and_its_metrics_are_found(
    server: Server, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Without --protocol; the page is on the same port."""
    options = ["--calls", "300", "--warm-up", "0", "--concurrency", "4", "--quiet", "--json", str(tmp_path / "a.json")]
    assert cli.main(["load", f"http://{server.http}", *options]) in (0, 4)  # 4: the machine is too busy
    report = json_file.read(tmp_path / "a.json")
    (measured,) = report.runs
    assert (report.protocol, report.target) == ("http", f"http://{server.http}")
    assert (measured.calls, measured.errors, measured.generator.connections) == (300, {}, 4)
    assert measured.metrics is not None
    assert measured.metrics.requests == 300
    assert measured.timing is not None
    assert cli.main(["load", f"http://{server.http}", "--protocol", "covey", *options]) == 2
    assert cli.main(["load", f"http://{server.http}/elsewhere", *options]) == 3
    for_grpc, for_path = capsys.readouterr().err.splitlines()
    assert "is a URL, and this protocol is gRPC's; give HOST:PORT, or --protocol http" in for_grpc
    assert "there is nothing at '/elsewhere/covey.v1.Classifier/GetModel'" in for_path


def test_tls_and_a_token_go_with_every_call(folder: Path) -> None:
    authority = Authority(folder / "authority")
    pair = authority.sign("localhost")
    token_file = folder / "token"
    token_file.touch(mode=0o600)
    token_file.write_text(f"{TOKEN}\n")
    flags = ["--tls-certificate", str(pair.certificate), "--tls-key", str(pair.key)]
    flags += ["--auth-token-file", str(token_file), "--default-model", "one"]
    tls = TLS(authority.certificate, server_name="localhost")
    for server in started(folder, folder / "models", *flags):
        for protocol in ProtocolName:
            plan = Plan(
                server.target_of(protocol),
                protocol=protocol,
                models={"one": 1.0},
                concurrencies=(8,),
                calls=80,
                warm_up_s=0,
                images_per_call=200,  # answers of several TLS records
                tls=tls,
                token=TOKEN,
            )
            (measured,) = run(plan).runs
            assert (measured.calls, measured.response.count, measured.errors) == (80, 80, {})
            assert TOKEN not in repr(plan)


def test_cores_are_those_that_the_server_may_use(tmp_path: Path, folder: Path) -> None:
    """Of as many as the machine has."""
    core = min(os.sched_getaffinity(0))
    restricted = (
        f"import os, sys; os.sched_setaffinity(0, [{core}]); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    program = [sys.executable, "-c", restricted, "-m", "covey_server"]
    for server in started(tmp_path, folder / "models", program=program):
        plan = Plan(
            server.target,
            models={"one": 1.0},
            concurrencies=(1, 2),
            calls=200,
            warm_up_s=0,
            metrics_url=server.metrics_url,
        )
        (measured,) = run(plan, goes_on=lambda measured: False).runs  # the second is left out
        assert measured.metrics is not None
        assert measured.metrics.usable_cores == 1
        assert affinity(server.pid) == 1


def test_answers_without_any_label_are_good_answers(tmp_path: Path, write_echo_model: WriteModel) -> None:
    """Of a model with independent labels, none of which reaches its threshold."""
    write_echo_model(tmp_path / "models", "tags", thresholds=[1.0])
    for server in started(tmp_path, tmp_path / "models"):
        report = run(Plan(server.target, concurrencies=(4,), calls=100, warm_up_s=0, metrics_url=server.metrics_url))
        (measured,) = report.runs
        assert measured.errors == {}
        assert measured.calls == 100


def test_imported_models_are_asked_with_pixels(tmp_path: Path) -> None:
    """They take their original input, too; metadata lists both."""
    onnx.save(small_cnn(), tmp_path / "net.onnx")
    assert main(["import", str(tmp_path / "net.onnx"), "--name", "net", "--models", str(tmp_path / "models")]) == 0
    for server in started(tmp_path, tmp_path / "models"):
        plan = Plan(
            server.target, protocol=ProtocolName.OIP, models={"net": 1.0}, rates=(50,), seconds=0.3, warm_up_s=0
        )
        (measured,) = run(plan).runs
        assert measured.errors == {}
