"""The programs of clients/examples, each run as a user would run it, against one real server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from bench.processes import covey_server
from tests.conftest import WriteModel

import covey

EXAMPLES = Path(covey.__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory, write_echo_model: WriteModel) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("examples")
    write_echo_model(folder / "models", "echo")
    with covey_server(folder / "models", "native", folder / "server.log") as server:
        yield server.target


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two images, of which each has one bright pixel: its place is the class. And a file that is none."""
    for name, brightest in (("seven.png", 7), ("two.png", 2)):
        pixels = np.zeros((4, 4), np.uint8)
        pixels.flat[brightest] = 255
        PIL.Image.fromarray(pixels).save(tmp_path / name)
    (tmp_path / "bad.png").write_bytes(b"bad")
    return tmp_path


def _run(name: str, *arguments: str | Path, stdin: str = "") -> list[str]:
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    run = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


def test_every_example_is_run_here() -> None:
    run = {"one_image.py", "concurrent_requests.py", "folder_to_csv.py", "camera.py", "tritonclient_infer.py"}
    assert {path.name for path in EXAMPLES.iterdir() if path.suffix == ".py"} == run


def test_one_image(target: str, photos: Path) -> None:
    (line,) = _run("one_image.py", photos / "seven.png", target)
    assert line.startswith("class 7, 100.0% sure, in ")


def test_concurrent_requests(target: str, photos: Path) -> None:
    seven, missing = photos / "seven.png", photos / "missing.png"
    assert _run("concurrent_requests.py", target, stdin=f"{seven}\n{missing}\n") == [
        f"{seven}: class 7",
        f"{missing}: {missing}: there is no such file",
    ]


def test_folder_to_csv(target: str, photos: Path) -> None:
    bad, *others = _run("folder_to_csv.py", photos, target)
    assert bad.startswith("bad.png,")
    assert "JPEG, PNG, WebP" in bad
    assert others == ["seven.png,class 7", "two.png,class 2"]


def test_camera(target: str) -> None:
    # All pixels of a frame are equal: the first class of equals. Answers come as they are ready.
    assert sorted(_run("camera.py", target), key=lambda line: int(line.split()[0])) == [
        f"{number} class 0" for number in range(30)
    ]


def test_tritonclient(target: str, photos: Path) -> None:
    best, second, third, shape = _run("tritonclient_infer.py", photos / "seven.png", target)
    assert best == "1.000000:7:class 7"
    assert all(line.startswith("0.000000:") for line in (second, third))
    assert shape == "(2, 10)"
