"""The traces of one call by gRPC and one by HTTP, as a collector got them from a real server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import WriteModel
from tests.server.http.asking import PIXELS, png

ROOT = Path(__file__).parents[2]


def test_parts_of_a_call_add_up_to_it(tmp_path: Path, write_echo_model: WriteModel) -> None:
    """In a process of its own: the instrumentation changes grpc for everybody, and a provider can be set only once."""
    write_echo_model(tmp_path / "models", "echo")
    (tmp_path / "image.png").write_bytes(png(PIXELS[4]))
    picture = tmp_path / "trace.png"
    arguments = [str(tmp_path / "image.png"), "--models", str(tmp_path / "models"), "--output", str(picture)]

    command = [sys.executable, "-m", "bench.trace", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)

    lines = [line.rsplit(maxsplit=2) for line in done.stdout.splitlines()]
    names = [name.strip() for name, _, _ in lines]
    times_us = [float(time.replace(",", "")) for _, time, _ in lines]
    parts = ["decode", "queue", "compute", "batch", "answer"]
    method = "covey.v1.Classifier/Classify"
    assert names == [
        *["classify, SDK", f"/{method}", method, *parts],
        *["classify, HTTP", "POST /v1/models/{model}/classify", *parts],
    ]
    for server, first in ((2, 3), (9, 10)):
        decode, queue, compute, batch, answer = times_us[first : first + 5]
        assert decode + queue + compute + answer == pytest.approx(times_us[server], abs=0.5)
        assert batch == compute
    assert picture.read_bytes().startswith(b"\x89PNG")
