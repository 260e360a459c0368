"""The commands where their extra is not installed: one line that says what to install, no traceback."""

from __future__ import annotations

import subprocess
import sys

import pytest

from covey.cli import catalogue

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
        ("covey_export", ["onnx"], ["import", "x.pt", "--network", "timm:x"], "pip install 'covey-serve[cpu,export]'"),
        ("covey_export", ["onnx"], ["import", "x.onnx"], "x.onnx does not exist. Besides, the package"),
    ],
)
def test_says_which_extra_to_install(package: str, missing: list[str], arguments: list[str], extra: str) -> None:
    program = PROGRAM.format(package=package, missing=missing)
    finished = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stdout) == (0, "")
    for name, line in zip(missing, finished.stderr.splitlines(), strict=True):
        assert f"the package {name!r} is not installed" in line
        assert extra in line


# As in an environment where the SDK alone is installed, whose grpcio brings typing_extensions.
HELP = """
import contextlib, io, sys
from importlib.abc import MetaPathFinder

class Hidden(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or top in {"covey", "covey_export", "covey_load", "covey_proto",
                                                     "covey_reports", "covey_server", "google", "grpc", "numpy",
                                                     "typing_extensions"}:
            return None
        raise ModuleNotFoundError(f"hidden: {name}", name=name)

sys.meta_path.insert(0, Hidden())
from covey.cli import main
for words in sys.argv[1:]:
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        try:
            code = main([*words.split(), "--help"])
        except SystemExit as ended:
            code = ended.code
    assert not code, words
    assert text.getvalue().startswith(f"usage: covey {words} "), (words, text.getvalue())
"""


def test_help_needs_no_optional_package() -> None:
    commands = [name for names in catalogue.GROUPS.values() for name in names]
    assert {"serve", "import", "train", "batch", "load", "doctor", "similar", "export"} <= set(commands)
    words = [*commands, "export list", "export all", "similar index", "similar query"]
    finished = subprocess.run([sys.executable, "-c", HELP, *words], capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stderr) == (0, "")


def test_wrong_usage_needs_no_optional_package() -> None:
    """What is wrong with a command is said before what is missing."""
    for package, words in (("covey_export", ["train"]), ("covey_export", ["import"]), ("covey_server", ["--x"])):
        program = HELP.partition("from covey.cli")[0] + f"from {package}.__main__ import main\nsys.exit(main())"
        finished = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=False)
        assert finished.returncode == 2
        assert "error: " in finished.stderr
        assert "is not installed" not in finished.stderr
