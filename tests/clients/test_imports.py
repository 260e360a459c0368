"""What `import covey` brings, and what it must not."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import covey


def _imported_by(statement: str) -> set[str]:
    """The top-level packages that a fresh process holds after `statement`."""
    program = f"import sys\n{statement}\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in run.stdout.split()}


def test_importing_covey_loads_nothing_heavy_and_nothing_of_the_server() -> None:
    forbidden = {"torch", "onnxruntime", "onnx", "PIL", "rich", "covey_server", "covey_export", "pygrpc_native"}
    for statement in ("import covey", "import covey.cli"):
        imported = _imported_by(statement)
        assert {"covey", "covey_proto", "grpc", "numpy"} <= imported
        assert not imported & forbidden


def test_the_load_tester_imports_the_sdk_and_not_the_other_way_round() -> None:
    """Either may be imported first."""
    for statement in ("import covey", "import covey.cli"):
        assert "covey_load" not in _imported_by(statement)
    for statement in ("import covey_load.cli.load", "import covey_load.cli.doctor", "import covey_load.recording"):
        assert {"covey", "covey_load"} <= _imported_by(statement)


def test_the_commands_work_without_the_packages_of_the_load_extra() -> None:
    """Those of the load tester say what to install."""
    extra = ("hdrh", "jinja2", "matplotlib", "msgspec", "prometheus_client", "psutil", "rich")
    program = f"""
import sys
sys.modules.update(dict.fromkeys({extra}))
from covey.cli import main
print(main(["models", "--target", "127.0.0.1:1", "--deadline-ms", "300"]))
print(main(["load", "127.0.0.1:1", "--rate", "1"]), main(["doctor", "127.0.0.1:1"]))
print(main(["plan", "127.0.0.1:1", "--rate", "1"]))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split()[-4:] == ["3", "2", "2", "2"]
    assert run.stderr.count("pip install 'covey-serve[load]'") == 3


def test_importing_the_sdk_does_not_load_the_command_line() -> None:
    assert "argparse" not in _imported_by("import covey") - _imported_by("import grpc, numpy, google.protobuf.message")


def test_all_is_exactly_what_is_public() -> None:
    public = {
        name for name, value in vars(covey).items() if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert public == set(covey.__all__)
    assert covey.__all__ == sorted(covey.__all__, key=lambda name: (not name.isupper(), name))
