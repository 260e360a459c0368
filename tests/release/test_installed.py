"""The wheel in new virtual environments, as users install it: with each Python that is here, from the package index."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest
from tests.release.building import build

pytestmark = [pytest.mark.release, pytest.mark.timeout(1800)]

VERSIONS = ("3.11", "3.12", "3.13", "3.14")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("built"))[".whl"]


def interpreter(version: str) -> str | None:
    """The Python of a version, if there is one; pyenv's shims are there for others too."""
    found = shutil.which(f"python{version}")
    return (
        found if found and not subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode else None
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_install_and_serve(version: str, wheel: Path, tmp_path: Path) -> None:
    """Without the extra an error says what to install; with it the sample answers, in the page and by command."""
    python = interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    place = tmp_path / "environment"
    subprocess.run([python, "-m", "venv", place], check=True)
    pip = [str(place / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    covey = str(place / "bin" / "covey")
    (tmp_path / "empty").mkdir()
    free = {f"COVEY_{name}_PORT": "0" for name in ("GRPC", "HTTP", "METRICS")}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVEY_")} | free

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [covey, *arguments], cwd=tmp_path / "empty", env=environment, capture_output=True, text=True, check=False
        )

    subprocess.run([*pip, str(wheel)], check=True)
    refused = run("serve")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "pip install 'covey-serve[cpu]'" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert "pip install 'covey-serve[cpu,export]'" in run("train", "lenet").stderr

    subprocess.run([*pip, f"{wheel}[cpu]"], check=True)
    looked = run("doctor", "--local")
    assert looked.returncode == 0, looked.stdout
    assert "torch" not in run("version").stdout
    with subprocess.Popen(
        [covey, "serve"], cwd=tmp_path / "empty", env=environment, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            lines = []
            for line in server.stdout:
                lines.append(line)
                if "nothing is left behind" in line:
                    break
            said = "".join(lines)
            page = re.search(r"^open:     (\S+)$", said, re.MULTILINE)
            ask = re.search(r"^try it:   covey (.*)$", said, re.MULTILINE)
            assert page is not None, said
            assert ask is not None, said
            with urllib.request.urlopen(page[1], timeout=60) as answer:
                assert b"<title>Covey</title>" in answer.read()
            assert json.loads(run(*shlex.split(ask[1]), "--json").stdout)["label"] == "7"
            server.send_signal(signal.SIGINT)
            assert server.wait(60) == 0
        finally:
            server.kill()
