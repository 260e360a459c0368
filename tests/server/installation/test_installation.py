"""What `covey doctor --local` says of an installation, from what such installations look like."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from covey_server import installation
from covey_server.errors import InvalidConfiguration
from covey_server.installation import gpu, machine, packages, ports
from covey_server.installation.finding import Finding, Level
from covey_server.system.memory_limit import Room

EPYC = "model name\t: AMD EPYC\nflags\t\t: fpu sse2 avx2 avx512f avx512_vnni\nmodel name\t: second core\n"


class TestPackages:
    def test_one_build_of_onnxruntime_is_right(self) -> None:
        found = packages.onnxruntime({"onnxruntime": "1.31.1"})
        assert (found.level, found.text, found.advice) == (Level.OK, "onnxruntime 1.31.1", "")

    @pytest.mark.parametrize(
        ("builds", "text", "advice"),
        [
            ({}, "not installed", "pip install 'covey-serve[cpu]'"),
            (
                {"onnxruntime-gpu": "1.29.0", "onnxruntime": "1.31.1"},
                "onnxruntime 1.31.1, onnxruntime-gpu 1.29.0: they share one folder",
                "pip uninstall onnxruntime onnxruntime-gpu, then pip install 'covey-serve[cpu]'",
            ),
        ],
    )
    def test_none_or_two_are_wrong(self, builds: dict[str, str], text: str, advice: str) -> None:
        found = packages.onnxruntime(builds)
        assert found.level is Level.WRONG
        assert found.text.startswith(text)
        assert found.advice.startswith(advice)

    def test_builds_are_found_by_the_module_that_they_give(self) -> None:
        ((name, number),) = packages.onnxruntime_builds().items()  # that of these tests
        assert name in ("onnxruntime", "onnxruntime-gpu")
        assert number == packages.version(name)

    def test_python(self) -> None:
        assert packages.python((3, 11, 0)).level is Level.OK
        old = packages.python((3, 10, 13))
        assert (old.level, old.advice) == (Level.WRONG, "make a virtual environment of Python 3.11 or newer")

    def test_without_the_servers_extra(self) -> None:
        there = {"grpcio": "1.85.0", "protobuf": "7.1.0", "numpy": "2.4.0"}
        (found,) = packages.of_the_server(lambda name: there.get(name, ""), ())
        assert found.level is Level.WRONG
        assert found.text.startswith("pillow, httptools, prometheus-client, ")
        assert found.advice.startswith("pip install 'covey-serve[cpu]'")

    @pytest.mark.parametrize(
        ("number", "is_right"),
        [("1.81.1", True), ("1.81", False), ("1.99.0rc1", True), ("2.0.0", False), ("1.9.0", False)],
    )
    def test_a_version_outside_the_range(self, number: str, is_right: bool) -> None:
        requires = ["grpcio<2,>=1.81.1", 'pillow<14,>=13; extra == "server"', "numpy[extra]>=1.26"]
        there = {"grpcio": number, "pillow": "13.0.0"}
        first, front = packages.of_the_server(lambda name: there.get(name, "99.0"), requires)
        assert front.level is Level.OK
        assert (first.level is Level.OK) is is_right
        assert is_right or first.text == f"grpcio {number} (expected <2,>=1.81.1)"

    def test_the_slower_front_is_noted(self) -> None:
        _, front = packages.of_the_server(lambda name: "" if name == "pygrpc-native" else "99.0", ())
        assert front.level is Level.NOTE
        assert front.advice.startswith("pip install pygrpc-native")


class TestMachine:
    def test_a_processor(self, tmp_path: Path) -> None:
        (tmp_path / "cpuinfo").write_text(EPYC)
        found = machine.processor(tmp_path / "cpuinfo", "x86_64")
        assert (found.level, found.text) == (Level.OK, "AMD EPYC: AVX2, AVX-512, VNNI")

    @pytest.mark.parametrize(
        ("flags", "kind", "advice"),
        [("fpu sse2", "x86_64", "expect slow answers without AVX2"), ("avx2", "x86_64", "measure whether int8"),
         ("asimd asimddp", "aarch64", ""), ("asimd", "aarch64", "measure whether int8")],
    )  # fmt: skip
    def test_what_it_cannot(self, flags: str, kind: str, advice: str, tmp_path: Path) -> None:
        (tmp_path / "cpuinfo").write_text(f"{'flags' if kind == 'x86_64' else 'Features'} : {flags}\n")
        found = machine.processor(tmp_path / "cpuinfo", kind)
        assert (found.level is Level.NOTE) is bool(advice)
        assert found.advice.startswith(advice)

    def test_a_system_that_does_not_tell(self, tmp_path: Path) -> None:
        assert machine.processor(tmp_path / "none", "arm64").level is Level.OK

    @pytest.mark.parametrize(("quota", "level"), [("max", Level.OK), ("150000", Level.OK), ("50000", Level.NOTE)])
    def test_a_quota(self, quota: str, level: Level, tmp_path: Path) -> None:
        (tmp_path / "cpu.max").write_text(f"{quota} 100000\n")
        found = machine.cores(tmp_path)
        assert found.level is level
        assert ("quota" in found.text) is (quota != "max")

    def test_memory(self) -> None:
        little = machine.memory(Room(100 * 2**20, "the cgroup's limit of 128 MiB"))
        assert (little.level, little.text) == (
            Level.NOTE,
            "100 MiB can be taken (the cgroup's limit of 128 MiB)",
        )
        assert machine.memory(Room(2**30, "")).level is Level.OK

    def test_open_files(self) -> None:
        assert machine.open_files(1024).level is Level.NOTE
        assert machine.open_files(65_536).level is Level.OK


class TestGpu:
    """CUDA itself is tried on a machine that has it (make test-gpu)."""

    @pytest.mark.parametrize(
        ("builds", "has_driver", "reason", "level", "text"),
        [
            (["onnxruntime"], False, "", Level.OK, "no NVIDIA driver here"),
            (["onnxruntime-gpu"], False, "", Level.NOTE, "onnxruntime is built for CUDA, but there is no"),
            (["onnxruntime"], True, "", Level.NOTE, "an NVIDIA driver is here, but this onnxruntime is not"),
            (["onnxruntime-gpu"], True, "", Level.OK, "onnxruntime runs on cuda:0"),
            (["onnxruntime-gpu"], True, "no libcudnn", Level.WRONG, "no libcudnn"),
            (["onnxruntime-gpu", "onnxruntime"], True, "", Level.OK, "not tried"),
        ],
    )
    def test_what_there_is(
        self, builds: list[str], has_driver: bool, reason: str, level: Level, text: str, tmp_path: Path
    ) -> None:
        driver = tmp_path / "version"
        if has_driver:
            driver.touch()
        found = gpu.gpu(dict.fromkeys(builds, "1.29.0"), driver, "libnone.so", lambda: reason)
        assert found.level is level
        assert found.text.startswith(text)


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1]
        taken = ports.port("gRPC", "--grpc-port", "127.0.0.1", number)
    assert taken.level is Level.WRONG
    assert taken.text == "for gRPC, cannot be opened on 127.0.0.1: Address already in use"
    assert taken.advice.endswith("or use --grpc-port")
    assert ports.port("gRPC", "--grpc-port", "127.0.0.1", number).level is Level.OK


def test_all_of_it_here() -> None:
    free = {"COVEY_GRPC_PORT": "0", "COVEY_HTTP_PORT": "0", "COVEY_METRICS_PORT": "0"}
    findings = list(installation.examine(free))
    assert [each.subject for each in findings if each.level is Level.WRONG] == []
    assert {"Python", "packages", "onnxruntime", "processor", "cores", "memory", "GPU"} <= {
        each.subject for each in findings
    }
    assert installation.text(findings).endswith("`covey serve` starts one")
    with pytest.raises(InvalidConfiguration, match="COVEY_GRPC_PORT='x': expected int"):
        list(installation.examine({"COVEY_GRPC_PORT": "x"}))


@pytest.mark.parametrize(("http", "expected"), [("true", ["any free one, for HTTP"]), ("false", [])])
def test_the_port_of_http_is_the_one_that_a_server_would_open(http: str, expected: list[str]) -> None:
    free = {"COVEY_GRPC_PORT": "0", "COVEY_METRICS_PORT": "0", "COVEY_HTTP": http}
    assert [each.text for each in installation.examine(free) if each.text.endswith("for HTTP")] == expected


def test_the_text() -> None:
    findings = [Finding(Level.OK, "a", "good"), Finding(Level.WRONG, "b", "bad", "mend it")]
    assert installation.text(findings).splitlines() == [
        "ok     a: good",
        "WRONG  b: bad",
        "       do: mend it",
        "to put right before a server is started: 1",
    ]


def test_it_says_what_is_missing_where_nothing_is_installed() -> None:
    """With the SDK's own packages only."""
    program = """
import sys
for name in ("onnxruntime", "PIL", "prometheus_client", "httptools", "psutil", "hdrh", "onnx", "torch"):
    sys.modules[name] = None
from covey.cli import main
main(["doctor", "--local"])
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "ok     Python: " in run.stdout
