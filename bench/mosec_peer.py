"""Owns mosec as a peer to compare with: its environment, its server process, load on it."""

from __future__ import annotations

import socket
import subprocess
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from bench.load import Caller
from bench.processes import BenchError, Server, free_port, own_process, wait_until

VERSION = "0.9.*"
_INSTALL_TIMEOUT_S = 300
# Some of its calls time out (408) where the machine is very busy.
CALLER = Caller("/inference", http=True, max_failure_share=0.01)


class NotInstalled(BenchError):
    """mosec cannot be installed here."""


@dataclass(frozen=True)
class Setting:
    """mosec's settings for batching."""

    workers: int
    batch: int
    wait_ms: int

    def __str__(self) -> str:
        return f"{self.workers} worker(s), batches of {self.batch}, waiting {self.wait_ms} ms"


# The best of them, in the same run, is what Covey is compared with.
SETTINGS = (Setting(1, 64, 1), Setting(1, 64, 5), Setting(2, 32, 1))


def install(folder: Path) -> Path:
    """The Python of an environment with mosec, made at the first call. Raises NotInstalled where pip cannot."""
    python = folder / "bin" / "python"
    done = folder / ".installed"
    if not done.is_file():
        packages: list[str] = [f"mosec=={VERSION}", *(f"{name}=={version(name)}" for name in ("onnxruntime", "numpy"))]
        try:
            venv.create(folder, with_pip=True, clear=True)
            command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
            finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_INSTALL_TIMEOUT_S)
        except (OSError, subprocess.SubprocessError) as error:
            raise NotInstalled(f"not installed: {error}") from error
        if finished.returncode:
            reason = (finished.stderr.strip().splitlines() or ["pip failed"])[-1]
            raise NotInstalled(f"not installed: {reason}")
        done.touch()
    return python


@contextmanager
def mosec_server(python: Path, model: Path, setting: Setting, log: Path) -> Iterator[Server]:
    """A mosec server that answers POST /inference. Raises BenchError where it does not listen within a minute."""
    port = free_port()
    command = [str(python), "-P", str(Path(__file__).with_name("mosec_worker.py")), "--port", str(port)]
    command += ["--address", "127.0.0.1", "--log-level", "warning"]
    environment = {
        "MODEL": str(model),
        "WORKERS": str(setting.workers),
        "BATCH": str(setting.batch),
        "WAIT_MS": str(setting.wait_ms),
        "PYTHONPATH": "",
    }
    with own_process(command, log, environment) as process:
        wait_until(lambda: _listens(port), process, "mosec", log)
        yield Server("mosec", process, f"127.0.0.1:{port}", None)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
