"""The commands where their extra is not installed: one line that says what to install, no traceback."""

from __future__ import annotations

import subprocess
import sys

import pytest

# One package after the other, in one process: torch, which takes 3 s to import, is then there for the next ones.
PROGRAM = """
import sys
from {package}.__main__ import main
for missing in {missing}:
    for name in [name for name in sys.modules if name.startswith("covey") and name != "{package}"]:
        del sys.modules[name]
    for name in [name for name in sys.modules if name.split(".")[0] == missing]:
        del sys.modules[name]
    sys.modules[missing] = None
    assert main() == 2
    del sys.modules[missing]
"""


@pytest.mark.parametrize(
    ("package", "missing", "arguments", "extra"),
    [
        ("covey_server", ["onnxruntime", "prometheus_client"], [], "covey-serve[cpu]"),
        ("covey_export", ["torch", "onnx", "jinja2"], ["list"], "covey-serve[cpu,export]"),
        ("covey_export", ["onnx"], ["import", "x.onnx", "--name", "x"], "pip install 'covey-serve[cpu]' onnx"),
    ],
)
def test_says_which_extra_to_install(package: str, missing: list[str], arguments: list[str], extra: str) -> None:
    program = PROGRAM.format(package=package, missing=missing)
    finished = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stdout) == (0, "")
    for name, line in zip(missing, finished.stderr.splitlines(), strict=True):
        assert f"the package {name!r} is not installed" in line
        assert extra in line
