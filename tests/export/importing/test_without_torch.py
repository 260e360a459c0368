"""An import of an ONNX file needs onnx, onnxruntime, numpy, Pillow and protobuf alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.export.importing.onnx_models import save, small_cnn

PROGRAM = """
import sys
for name in ("torch", "torchvision", "rich", "matplotlib", "onnxscript", "safetensors", "grpc", "prometheus_client"):
    sys.modules[name] = None  # as if it were not installed
from covey_export.__main__ import main
code = main()
loaded = sorted(name for name in sys.modules if name.split(".")[0] in ("torch", "rich") and sys.modules[name])
assert not loaded, loaded
sys.exit(code)
"""


def test_in_a_process_of_its_own(tmp_path: Path) -> None:
    source = save(small_cnn(batch=1, flatten="Reshape"), tmp_path)
    command = [sys.executable, "-c", PROGRAM, "import", str(source), "--name", "net", "--models", str(tmp_path / "m")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "published" in done.stdout
    assert (tmp_path / "m/net/1/model.onnx").exists()


def test_no_telemetry(tmp_path: Path) -> None:
    """onnxruntime's wheels keep a session's file (`.ses`) in the temporary folder where they send any."""
    source = save(small_cnn(), tmp_path)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    command = [sys.executable, "-c", PROGRAM, "import", str(source), "--name", "net", "--models", str(tmp_path / "m")]
    done = subprocess.run(
        command, env={**environment, "TMPDIR": str(temporary)}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not list(temporary.iterdir())


def test_help_and_wrong_usage() -> None:
    for arguments, code, expected in ((["--help"], 0, "--like"), ([], 2, "required: SOURCE")):
        command = [sys.executable, "-c", PROGRAM, "import", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == code
        assert expected in done.stdout + done.stderr


def test_an_output_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    source = save(small_cnn(), tmp_path)
    command = [sys.executable, "-c", PROGRAM, "import", str(source), "--name", "net", "--models", str(tmp_path / "m")]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert "cannot be written: No space left on device" in done.stderr
