"""The wheel in new virtual environments, as users install it: with each Python that is here, from the package index.

build/release/matrix.md has what each installation takes.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from bench.processes import ROOT
from tests.release.building import build
from tests.release.environments import PYTHONS, Environment, Facts, environment, interpreter, lowest

pytestmark = [pytest.mark.release, pytest.mark.timeout(1800)]

MATRIX = ROOT / "build" / "release" / "matrix.md"
SMALL_EXTRAS = ("cpu", "http", "completion", "heic", "otel")
MAKE_HEIC = "import pillow_heif, sys; from PIL import Image; pillow_heif.register_heif_opener(); "
MAKE_HEIC += "Image.open(sys.argv[1]).save(sys.argv[2])"

USE_GRAPH = """
import sys
from pathlib import Path
import numpy as np
from covey.similar.graph import Graph
vectors = np.random.default_rng(0).normal(size=(100, 8)).astype(np.float32)
graph = Graph.new(8)
graph.add(np.arange(100), vectors)
graph.write(Path(sys.argv[1]))
read = Graph.read(Path(sys.argv[1]))
print(int(read.nearest(vectors[7], 1)[0]))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("built"))[".whl"]


@pytest.fixture(scope="module")
def matrix() -> Iterator[dict[tuple[str, str], Facts]]:
    """To be filled by Python and kind of versions; written as a table in the end."""
    rows: dict[tuple[str, str], Facts] = {}
    yield rows
    lines = ["| Python | versions | packages | MB | import covey, CPU s |", "| --- | --- | --- | --- | --- |"]
    lines += [
        f"| {version} | {which} | {each.packages} | {each.size_bytes / 1e6:.0f} | {each.import_cpu_s:.2f} |"
        for (version, which), each in rows.items()
    ]
    MATRIX.parent.mkdir(parents=True, exist_ok=True)
    MATRIX.write_text("\n".join(lines) + "\n")


class Commands:
    """`covey` of an environment, in an empty folder, on free ports."""

    def __init__(self, covey: str, folder: Path) -> None:
        self._covey = covey
        self._folder = folder
        self._variables = {name: value for name, value in os.environ.items() if not name.startswith("COVEY_")}
        self._variables |= {f"COVEY_{name}_PORT": "0" for name in ("GRPC", "HTTP", "METRICS")}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self._covey, *arguments],
            cwd=self._folder,
            env=self._variables,
            capture_output=True,
            text=True,
            check=False,
        )

    @contextmanager
    def serve(self, **variables: str) -> Iterator[str]:
        """`covey serve` alone: what it prints once it is ready. It ends with Ctrl-C, in good order."""
        command = [self._covey, "serve"]
        with subprocess.Popen(
            command, cwd=self._folder, env=self._variables | variables, stdout=subprocess.PIPE, text=True
        ) as server:
            try:
                assert server.stdout is not None
                lines = []
                for line in server.stdout:
                    lines.append(line)
                    if "nothing is left behind" in line:
                        break
                yield "".join(lines)
                server.send_signal(signal.SIGINT)
                assert server.wait(60) == 0
            finally:
                server.kill()


@pytest.mark.parametrize("which", ["newest", "lowest"])
@pytest.mark.parametrize("version", PYTHONS)
def test_install_and_serve(
    version: str, which: str, wheel: Path, tmp_path: Path, matrix: dict[tuple[str, str], Facts]
) -> None:
    """Without the extra an error says what to install; with it the sample answers, in the page and by command. The
    small extras do what they are for."""
    python = interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    constraints = lowest(version, SMALL_EXTRAS, tmp_path / "lowest.txt") if which == "lowest" else None
    folder = tmp_path / "empty"
    folder.mkdir()
    with environment(python, tmp_path / "environment") as installed:
        covey = Commands(installed.program("covey"), folder)
        installed.install(wheel, [], constraints)
        _refuses_without_extras(covey)
        installed.install(wheel, ["cpu"], constraints)
        matrix[version, which] = installed.facts()
        _serves_the_sample(covey)
        installed.install(wheel, SMALL_EXTRAS, constraints)
        _uses_small_extras(covey, installed, folder)


def test_a_load_test_and_a_graph_with_the_lowest_versions(wheel: Path, tmp_path: Path) -> None:
    """The extras `load` and `similar`, which are larger, with the lowest Python alone."""
    version = PYTHONS[0]
    python = interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    extras = ("cpu", "load", "similar")
    constraints = lowest(version, extras, tmp_path / "lowest.txt")
    folder = tmp_path / "empty"
    folder.mkdir()
    with environment(python, tmp_path / "environment") as installed:
        covey = Commands(installed.program("covey"), folder)
        installed.install(wheel, extras, constraints)
        with covey.serve() as said:
            target = re.search(r"grpc=(\S+)", said)
            assert target is not None, said
            load = ["load", target[1], "--concurrency", "1", "--calls", "200", "--warm-up", "0", "--html", "load.html"]
            loaded = covey.run(*load)
        assert loaded.returncode in (0, 4), loaded.stderr  # 4: too few calls to believe the figures
        assert "<svg" in (folder / "load.html").read_text()
        command = [installed.program("python"), "-c", USE_GRAPH, str(folder / "graph")]
        asked = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (asked.returncode, asked.stdout.strip()) == (0, "7"), asked.stderr


def _refuses_without_extras(covey: Commands) -> None:
    refused = covey.run("serve")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "pip install 'covey-serve[cpu]'" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert "pip install 'covey-serve[cpu,export]'" in covey.run("train", "lenet").stderr


def _serves_the_sample(covey: Commands) -> None:
    looked = covey.run("doctor", "--local")
    assert looked.returncode == 0, looked.stdout
    assert "torch" not in covey.run("version").stdout
    with covey.serve() as said:
        page = re.search(r"^open:     (\S+)$", said, re.MULTILINE)
        ask = re.search(r"^try it:   covey (.*)$", said, re.MULTILINE)
        assert page is not None, said
        assert ask is not None, said
        with urllib.request.urlopen(page[1], timeout=60) as answer:
            assert b"<title>Covey</title>" in answer.read()
        assert _labels(covey.run(*shlex.split(ask[1]), "--json")) == ["7"]


def _uses_small_extras(covey: Commands, installed: Environment, folder: Path) -> None:
    """A HEIC file over HTTP to a server with traces, whose collector is not there."""
    digit, heic = ROOT / "docs" / "digit.png", folder / "digit.heic"
    subprocess.run([installed.program("python"), "-c", MAKE_HEIC, str(digit), str(heic)], check=True)
    collector = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    with covey.serve(COVEY_IMAGE_FORMATS="png,heic", **collector) as said:
        target = re.search(r"http=(\S+)", said)
        assert target is not None, said
        asked = covey.run("classify", str(digit), str(heic), "--json", "--target", f"http://{target[1]}")
        assert _labels(asked) == ["7", "7"]
    completion = covey.run("completion", "bash")
    assert "complete -" in completion.stdout, completion.stderr


def _labels(asked: subprocess.CompletedProcess[str]) -> Sequence[str]:
    assert asked.returncode == 0, asked.stderr
    return [json.loads(line)["label"] for line in asked.stdout.splitlines()]
