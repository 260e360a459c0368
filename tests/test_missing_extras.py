"""The commands where their extra is not installed: one line that says what to install, no traceback."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("package", "missing", "arguments", "extra"),
    [
        ("covey_server", "onnxruntime", [], "covey-serve[cpu]"),
        ("covey_server", "prometheus_client", [], "covey-serve[cpu]"),
        ("covey_export", "torch", ["list"], "covey-serve[cpu,export]"),
        ("covey_export", "onnx", ["list"], "covey-serve[cpu,export]"),
        ("covey_export", "jinja2", ["list"], "covey-serve[cpu,export]"),
        ("covey_export", "onnx", ["import", "x.onnx", "--name", "x"], "pip install 'covey-serve[cpu]' onnx"),
    ],
)
def test_says_which_extra_to_install(package: str, missing: str, arguments: list[str], extra: str) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None; from {package}.__main__ import main; sys.exit(main())"
    finished = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert finished.returncode == 2
    assert finished.stdout == ""
    (line,) = finished.stderr.splitlines()
    assert f"the package {missing!r} is not installed" in line
    assert extra in line
