"""New virtual environments with the wheel in them: of each Python that is here, with the newest versions of what Covey
needs, or the lowest that pyproject.toml allows."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.processes import ROOT

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
STARTS = 10
# In the environment itself. Bytecode, pip and what venv makes are left out.
_FACTS = """
import importlib.metadata, json
import covey
found = [each for each in importlib.metadata.distributions() if each.name not in ("pip", "setuptools")]
files = {path.locate().resolve() for each in found for path in each.files if path.suffix != ".pyc"}
print(json.dumps([len(found), sum(file.stat().st_size for file in files)]))
"""


@dataclass(frozen=True, slots=True)
class Facts:
    """What an installation takes. `import_cpu_s` is the CPU time of a Python that imports covey, the fastest of ten."""

    packages: int
    size_bytes: int
    import_cpu_s: float


def interpreter(version: str) -> str | None:
    """The Python of a version, if there is one; pyenv's shims are there for others too."""
    found = shutil.which(f"python{version}")
    if found is None or subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode:
        return None
    return found


def lowest(version: str, extras: Sequence[str], to: Path) -> Path:
    """Writes a file of constraints: the lowest versions that pyproject.toml allows and that have wheels for a Python,
    and of what these need in turn the newest. Raises CalledProcessError where there are none."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", str(ROOT / "pyproject.toml")]
    command += [f"--extra={extra}" for extra in extras]
    command += ["--resolution=lowest-direct", "--only-binary=:all:", f"--python-version={version}"]
    subprocess.run([*command, f"--output-file={to}"], check=True, stdout=subprocess.DEVNULL)
    return to


@contextmanager
def environment(python: str, place: Path) -> Iterator[Environment]:
    """An empty one, which is removed in the end: it takes 300 MB."""
    subprocess.run([python, "-m", "venv", place], check=True)
    try:
        yield Environment(place)
    finally:
        shutil.rmtree(place)


@dataclass(frozen=True, slots=True)
class Environment:
    place: Path

    def program(self, name: str) -> str:
        return str(self.place / "bin" / name)

    def install(self, wheel: Path, extras: Sequence[str], constraints: Path | None) -> None:
        """Raises CalledProcessError."""
        command = [self.program("pip"), "install", "--quiet", "--disable-pip-version-check"]
        command += [f"{wheel}[{','.join(extras)}]" if extras else str(wheel)]
        command += [f"--constraint={constraints}"] if constraints else []
        subprocess.run(command, check=True)

    def facts(self) -> Facts:
        packages, size_bytes = json.loads(self._run(_FACTS))
        starts = [float(self._run("import covey, time; print(time.process_time())")) for _ in range(STARTS)]
        return Facts(packages, size_bytes, min(starts))

    def _run(self, code: str) -> str:
        command = [self.program("python"), "-c", code]
        return subprocess.run(command, cwd=self.place, capture_output=True, text=True, check=True).stdout
