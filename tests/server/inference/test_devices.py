"""The honest choice of a device, with the probes of machines that are not at hand here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from covey_server.errors import DeviceUnavailable, InvalidConfiguration
from covey_server.inference import devices
from covey_server.inference.devices import (
    CPU_PROVIDER,
    CUDA_PROVIDER,
    Device,
    available_cores,
    choose,
    share_cores,
    usable_cores,
    useful_processes,
)

BOTH = (CUDA_PROVIDER, CPU_PROVIDER)


def broken(device: Device) -> None:
    raise DeviceUnavailable(f"device {device.name}: libcudnn.so.9 is missing")


def working(device: Device) -> None:
    pass


def test_cpu_is_cpu_whatever_else_there_is() -> None:
    assert choose("cpu", BOTH, working).name == "cpu"


def test_auto_takes_cuda_where_it_works_and_says_why_where_it_does_not() -> None:
    assert choose("auto", BOTH, working).name == "cuda:0"
    fallen_back = choose("auto", BOTH, broken)
    assert (fallen_back.name, fallen_back.provider) == ("cpu", CPU_PROVIDER)
    assert "libcudnn.so.9 is missing" in fallen_back.fallback


def test_auto_on_the_cpu_build_is_no_fallback() -> None:
    assert choose("auto", (CPU_PROVIDER,), broken).fallback == ""


def test_cuda_refuses_where_it_cannot_be_had() -> None:
    with pytest.raises(DeviceUnavailable, match="libcudnn"):
        choose("cuda", BOTH, broken)
    with pytest.raises(DeviceUnavailable, match=r"install covey-serve\[gpu\]"):
        choose("cuda:1", (CPU_PROVIDER,), working)


def test_cuda_names_one_of_several() -> None:
    device = choose("cuda:1", BOTH, working)
    assert device.name == "cuda:1"
    assert device.options["device_id"] == "1"
    assert device.options["cudnn_conv_algo_search"] == "HEURISTIC"


@pytest.mark.parametrize("word", ["gpu", "cpu:0", "auto:1", "cuda:x", "", "CUDA"])
def test_other_words_are_refused(word: str) -> None:
    with pytest.raises(InvalidConfiguration, match="none of auto, cpu, cuda"):
        choose(word, BOTH, working)


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "max 100000"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ({}, 8),
    ],
)
def test_cores_come_from_the_quota_of_the_container(
    files: dict[str, str], cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert usable_cores(tmp_path) == cores


@pytest.mark.parametrize(
    ("files", "own", "cores"),
    [
        ({"system.slice/covey.service/cpu.max": "50000 100000"}, "0::/system.slice/covey.service", 0.5),
        ({"system.slice/cpu.max": "150000 100000"}, "0::/system.slice/covey.service", 1.5),
        ({"cpu.max": "300000 100000", "a/cpu.max": "max 100000"}, "0::/a", 3),
        ({"cpu.max": "300000 100000"}, "0::/of/the/machine", 3),  # in a container
        ({"cpu/a/cpu.cfs_quota_us": "25000", "cpu/a/cpu.cfs_period_us": "100000"}, "4:cpu,cpuacct:/a\n0::/", 0.25),
        ({}, "0::/", 8),
    ],
)
def test_the_least_quota_of_the_cgroups_around_the_process_counts(
    files: dict[str, str], own: str, cores: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """systemd's CPUQuota= is that of the service's own group."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    (tmp_path / "self").write_text(own + "\n")
    assert available_cores(tmp_path, tmp_path / "self") == cores


def test_both_builds_of_onnxruntime_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("onnxruntime", "onnxruntime_gpu"):
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n")
    devices.refuse_mixed_installation()  # this one has one of them
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InvalidConfiguration, match="both onnxruntime and onnxruntime-gpu"):
        devices.refuse_mixed_installation()


def test_one_core_in_several_is_the_fronts_and_runs_full_batches_only() -> None:
    assert [share_cores(cores) for cores in (1, 2, 3, 8)] == [(1, 0), (1, 1), (2, 1), (7, 1)]
    assert share_cores(8, workers=3) == (3, 0)


def test_more_processes_help_small_models_on_many_cores() -> None:
    assert [useful_processes(cores, 12.0) for cores in (1, 2, 4, 16, 64)] == [1, 1, 1, 4, 15]
    assert useful_processes(64, 5000.0) == 1
