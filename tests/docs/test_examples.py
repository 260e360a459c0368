"""The programs of docs/examples, each run as a user would run it, against real servers."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from bench.processes import ROOT, Server, covey_server
from numpy.typing import ArrayLike
from tests.conftest import WriteModel, echo_model
from tests.reports.pages import CHROMIUM, needs_browser
from tests.waiting import wait_until

EXAMPLES = ROOT / "docs" / "examples"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, write_echo_model: WriteModel) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("examples")
    write_echo_model(folder / "models", "echo")
    with covey_server(folder / "models", "native", folder / "server.log", ["--cors-origin", "*"]) as server:
        yield server


@pytest.fixture(scope="module")
def target(server: Server) -> str:
    return server.target


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two images, and a file that is none."""
    for name, label in (("seven.png", 7), ("two.png", 2)):
        _save_of_class(tmp_path / name, label)
    (tmp_path / "bad.png").write_bytes(b"bad")
    return tmp_path


def _save(path: Path, pixels: ArrayLike) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


def _save_of_class(path: Path, label: int) -> None:
    """One pixel is bright: its place is the class."""
    pixels = np.zeros((4, 4))
    pixels.flat[label] = 255
    _save(path, pixels)


def _run(name: str, *arguments: str | Path, stdin: str = "", code: int = 0) -> list[str]:
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    run = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    assert run.returncode == code, run.stderr
    return run.stdout.splitlines()


def test_every_example_is_run_here() -> None:
    tested = Path(__file__).read_text(encoding="utf-8")
    names = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".html", ".ipynb")}
    assert {name for name in names if name not in tested} == set()
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert {name for name in names if f"({name})" not in page} == set()


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


def test_no_images_are_not_taken_for_a_good_end(tmp_path: Path) -> None:
    """Of a program that asks a model about a folder. There is no server: none is asked."""
    (tmp_path / "note.txt").touch()
    for name, code in (("defect_detector.py", 3), ("product_classifier.py", 1), ("folder_to_csv.py", 1)):
        for folder in (tmp_path, tmp_path / "missing"):
            assert _run(name, folder, "localhost:1", code=code) == []


@pytest.mark.slow
def test_product_classifier(tmp_path: Path) -> None:
    """From a folder of photographs to rows: trained, published, served."""
    chance = np.random.default_rng(1)
    colours = {"bowl": (200, 60, 60), "cup": (60, 200, 60), "mug": (60, 60, 200)}

    def photograph(colour: tuple[int, int, int]) -> ArrayLike:
        return np.clip(chance.normal(colour, 25, (32, 32, 3)), 0, 255)

    for product, colour in colours.items():
        for number in range(12):
            _save(tmp_path / "photos" / product / f"{number}.png", photograph(colour))
        _save(tmp_path / "new" / f"{product}.png", photograph(colour))
    (tmp_path / "new" / "zero.jpg").write_bytes(b"bad")
    command = [sys.executable, "-m", "covey_export", "all", "cifar-net", "--dataset", "folder:photos"]
    command += ["--name", "products", "--epochs", "6", "--optimizer", "adam", "--learning-rate", "0.003"]
    command += ["--batch-size", "8", "--seed", "1", "--no-report"]
    trained = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert trained.returncode == 0, trained.stdout + trained.stderr

    with covey_server(tmp_path / "models", "native", tmp_path / "server.log") as server:
        title, *rows, bad = _run("product_classifier.py", tmp_path / "new", server.target)
    assert title == "file,product,probability,look"
    assert bad == "zero.jpg,,,yes"
    for product, row in zip(colours, rows, strict=True):
        assert row == f"{product}.png,{product},1.00,"


def test_defect_detector(tmp_path: Path) -> None:
    """The model's probabilities are the first two pixels."""
    model = tmp_path / "models" / "parts" / "1" / "model.onnx"
    model.parent.mkdir(parents=True)
    model.write_bytes(echo_model((4, 4, 1), ("good", "defect")).SerializeToString())
    belt = tmp_path / "belt"
    for name, good, defect in (("a", 250, 5), ("b", 5, 250), ("c", 115, 140)):
        pixels = np.zeros((4, 4))
        pixels.flat[:2] = good, defect
        _save(belt / f"{name}.png", pixels)
    flags = ["--capture", str(tmp_path / "captures"), "--capture-below", "0.9", "--capture-rate", "0"]
    with covey_server(tmp_path / "models", "native", tmp_path / "server.log", flags) as server:
        printed = ["a.png: pass", "b.png: reject", "c.png: look"]
        assert _run("defect_detector.py", belt, server.target, code=2) == printed
        (belt / "c.png").unlink()
        assert _run("defect_detector.py", belt, server.target, code=1) == printed[:2]
        (belt / "b.png").unlink()
        PIL.Image.open(belt / "a.png").save(belt / "d.JPG")
        assert _run("defect_detector.py", belt, server.target) == [printed[0], "d.JPG: pass"]
        wait_until(lambda: list(tmp_path.glob("captures/parts/*/*.png")))
    (kept,) = tmp_path.glob("captures/parts/*/*.png")
    assert kept.parent.name == "defect"
    assert np.asarray(PIL.Image.open(kept)).flat[1] == 140


@needs_browser
def test_browser(server: Server, photos: Path) -> None:
    pytest.importorskip("playwright", reason="needs playwright")
    from playwright.sync_api import expect, sync_playwright

    flags = ["--no-sandbox", "--disable-dev-shm-usage"]
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=EXAMPLES)
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as site,
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=CHROMIUM, args=flags) as browser,
    ):
        threading.Thread(target=site.serve_forever, daemon=True).start()
        page = browser.new_page()
        address = f"http://127.0.0.1:{site.server_port}/browser.html"
        page.goto(f"{address}?server=http://{server.http_target}")
        page.get_by_label("image").set_input_files(photos / "seven.png")
        expect(page.locator("li").first).to_have_text("class 7 100.0 %", timeout=60_000)
        expect(page.locator("li")).to_have_count(3)
        page.get_by_label("image").set_input_files(photos / "bad.png")
        expect(page.get_by_role("status")).to_contain_text("JPEG, PNG, WebP", timeout=60_000)
        expect(page.locator("li")).to_have_count(0)
        page.goto(f"{address}?server=http://127.0.0.1:1")
        page.get_by_label("image").set_input_files(photos / "seven.png")
        origin = address.removesuffix("/browser.html")
        why = f"http://127.0.0.1:1 does not answer, or was not started with --cors-origin {origin}"
        expect(page.get_by_role("status")).to_have_text(why, timeout=60_000)
        page.close()
        site.shutdown()


def test_notebook(target: str, tmp_path: Path) -> None:
    """Its cells, one after the other, as `Run all` does."""
    for name, label in (("class 7/a.png", 7), ("class 7/b.png", 2), ("class 2/c.PNG", 2)):
        _save_of_class(tmp_path / "photos" / name, label)
    cells = json.loads((EXAMPLES / "mistakes.ipynb").read_text(encoding="utf-8"))["cells"]
    source = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert '"localhost:8001"' in source
    code = source.replace("localhost:8001", target)
    command = [sys.executable, "-W", "error", "-c", code]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    empty = subprocess.run(command, cwd=tmp_path / "photos", capture_output=True, text=True, check=False)
    assert "photos: expected a folder per class with images in it" in empty.stderr
    assert run.stdout.splitlines() == [
        "echo 1 knows 10 classes",
        "3 images, 0 cannot be read",
        "              class 2  class 7",
        "     class 2        1        0",
        "     class 7        1        1",
        "photos/class 7/b.png: class 2, 100% sure",
        "2 of 3 are right",
    ]
