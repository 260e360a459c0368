"""`covey-server serve FILE`: from a file to a served answer by one command, and nothing of it is left. Without a file
it serves the sample."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.export.importing.imports import images, original, softmax
from tests.export.importing.onnx_models import CLASSES, SIZE, save, small_cnn

from covey import Client
from covey_server.first_look import FirstLook
from covey_server.observability import log_lines

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """Where the command puts temporary files."""
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


@pytest.fixture
def start(tmp_path: Path, scratch: Path) -> Iterator[Start]:
    """Starts the command in an empty folder."""
    started: list[subprocess.Popen[str]] = []
    (tmp_path / "empty").mkdir()

    def run(*arguments: object, module: str = "covey_server") -> subprocess.Popen[str]:
        command = [sys.executable, "-m", module, "serve", *map(str, arguments)]
        environment = os.environ | {"TMPDIR": str(scratch), "COVEY_GRPC_PORT": "0", "COVEY_METRICS_PORT": "0"}
        started.append(
            subprocess.Popen(
                command, cwd=tmp_path / "empty", env=environment, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )
        )  # fmt: skip
        return started[-1]

    yield run
    for each in started:
        each.kill()
        each.communicate()
    assert not list((tmp_path / "empty").iterdir()), "nothing is written where the user stands"


def read_until(popen: subprocess.Popen[str], text: str) -> list[str]:
    """What it printed, up to the line with the text."""
    assert popen.stdout is not None
    lines: list[str] = []
    for line in popen.stdout:
        lines.append(line.rstrip("\n"))
        if text in line:
            return lines
    pytest.fail(f"it ended without printing {text!r}: {lines}, {popen.communicate()[1]}")


def test_from_a_file_to_an_answer(start: Start, scratch: Path, tmp_path: Path) -> None:
    source = save(small_cnn(), tmp_path, "my net.onnx")
    server = start("--workers", 1, "--like", "-1..1", source, "--labels", "a,b,c,d,e")
    said = "\n".join(read_until(server, "nothing is left behind"))
    assert "pixels  RGB pixels scaled to 0..1, mean 0.5 subtracted, divided by 0.5" in said
    assert "its outputs are logits; a softmax is put behind them" in said
    assert "note: no --resize was given; assumed is stretch" in said
    assert "serve it with" not in said
    assert f"keep it:  covey import --like -1..1 '{source}' --labels a,b,c,d,e" in said
    assert re.search(r"^open:     http://localhost:\d+/$", said, re.MULTILINE)
    assert not list(scratch.iterdir()), "the model is in memory"

    pixels = images(3, (SIZE, SIZE, 3))
    expected = softmax(original(source, (pixels.transpose(0, 3, 1, 2) / 127.5 - 1).astype(np.float32)))
    ready = re.search(r"covey-server ready grpc=(\S+)", said)
    assert ready is not None
    assert f"try it:   covey classify --target {ready[1]} photo.jpg" in said
    if shutil.which("curl"):
        curl = re.search(r"^or:       (curl .* photo.jpg .*)$", said, re.MULTILINE)
        assert curl is not None
        Image.fromarray(pixels[0]).save(tmp_path / "photo.jpg")
        answer = subprocess.run(shlex.split(curl[1]), cwd=tmp_path, capture_output=True, timeout=60, check=True).stdout
        assert {each["label"] for each in json.loads(answer)["results"][0]["classes"]} == set("abcde")
    with Client(ready[1]) as client:
        (model,) = client.models()
        assert (model.name, model.labels) == ("my-net", tuple("abcde"))
        for image, row in zip(pixels, expected, strict=True):
            found = {each.label: each.probability for each in client.classify(image).classes}
            assert np.allclose([found[label] for label in "abcde"], row, atol=1e-4)
        assert client.explain(pixels[0]).layers
    server.send_signal(signal.SIGINT)
    assert server.wait(60) == 0
    assert not list(scratch.iterdir())


def test_without_a_file_the_sample_is_served(start: Start, scratch: Path) -> None:
    server = start("--workers", 1, module="covey")
    said = "\n".join(read_until(server, "nothing is left behind"))
    assert "served:   the sample that comes with Covey, lenet, which reads handwritten digits" in said
    assert "yours:    covey serve FILE.onnx --like imagenet" in said
    assert not list(scratch.iterdir()), "the model is in memory"
    page = re.search(r"^open:     (http://localhost:\d+/)$", said, re.MULTILINE)
    ask = re.search(r"^try it:   covey (classify .*)$", said, re.MULTILINE)
    assert page is not None
    assert ask is not None
    with urllib.request.urlopen(page[1], timeout=60) as answer:
        assert b"<title>Covey</title>" in answer.read()
    command = [sys.executable, "-m", "covey", *shlex.split(ask[1]), "--json"]
    answer = subprocess.run(command, capture_output=True, timeout=120, check=True).stdout
    assert json.loads(answer)["label"] == "7"
    with Client(ask[1].split()[2]) as client:
        explained = client.explain(shlex.split(ask[1])[-1])
    assert [layer.kind for layer in explained.layers][:2] == ["input", "convolution"], "the page looks inside it, too"
    server.send_signal(signal.SIGINT)
    assert server.wait(60) == 0


def test_what_to_do_next_is_said_once_the_log_is_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a terminal, where both go, it stands last: another thread writes the log."""
    monkeypatch.setattr(log_lines, "flush", lambda: print("the log"))
    app: Any = SimpleNamespace(
        repository=SimpleNamespace(catalog=SimpleNamespace(served=())), http=None, front=SimpleNamespace(port=1)
    )
    before = signal.getsignal(signal.SIGTERM)
    try:
        with FirstLook([], {}) as look:
            app.config = look.config()
            look.served(app)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert capsys.readouterr().out.startswith("the log\nserved:   the sample")


def test_a_size_that_the_file_leaves_open_is_assumed(start: Start, tmp_path: Path) -> None:
    server = start(save(small_cnn(height="height", width="width"), tmp_path))
    said = "\n".join(read_until(server, "nothing is left behind"))
    assert "note: the file takes images of any size, and no --image-size was given; assumed is 224x224" in said
    assert "note: no preprocessing was given; assumed is imagenet" in said
    assert f"the outputs are named class 0 to class {CLASSES - 1}" in said


def test_what_cannot_be_imported_is_not_served(start: Start, scratch: Path, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_text("not found")
    for arguments, said in (
        ((tmp_path / "x.onnx",), "covey-server: "),
        ((tmp_path / "x.onnx", "--labls", "a,b"), "covey-server serve: error: unrecognized arguments: --labls"),
        ((tmp_path / "x.onnx", "--grpc-prot", "1"), "unrecognized arguments: --grpc-prot. Did you mean --grpc-port?"),
        ((tmp_path / "x.onnx", "--models", "m"), "covey-server: --models: serve FILE keeps nothing"),
        ((tmp_path / "x.onnx", "--workers", "x"), "argument --workers: invalid int value"),
        (("--like", "imagenet"), "required: SOURCE"),
    ):
        ended = start(*arguments)
        assert said in ended.communicate(timeout=60)[1], arguments
        assert ended.returncode == 2
    assert not list(scratch.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_import_leaves_nothing(
    number: signal.Signals, start: Start, scratch: Path, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "endless.onnx")  # the import waits for it
    ended = start(tmp_path / "endless.onnx")
    with (tmp_path / "endless.onnx").open("wb"):  # blocks until the import reads
        ended.send_signal(number)
        assert ended.wait(60) == 130
    assert not list(scratch.iterdir())


def test_help_and_a_server_without_the_import(start: Start, tmp_path: Path) -> None:
    helped = start("--help")
    text = helped.communicate(timeout=60)[0]
    assert helped.returncode == 0
    assert text.startswith("usage: covey-server serve [FILE] [--like HOW] [options]\n")
    assert "--grpc-port" in text
    assert "--reload-interval-s" not in text
    program = "import sys\nsys.modules['covey_export'] = None\nfrom covey_server.__main__ import main\nsys.exit(main())"
    command = [sys.executable, "-c", program, "serve", "x.onnx"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert "covey-server: serve imports the file first, and covey_export is not installed here" in done.stderr


def test_a_variant_is_served_beside_it(start: Start, tmp_path: Path) -> None:
    server = start(save(small_cnn(), tmp_path), "--float16")
    ready = re.search(r"grpc=(\S+)", "\n".join(read_until(server, "nothing is left behind")))
    assert ready is not None
    with Client(ready[1]) as client:
        assert sorted(model.name for model in client.models()) == ["network", "network-float16"]
        image = images(1, (SIZE, SIZE, 3))[0]
        assert (
            client.classify(image).classes[0].label == client.classify(image, model="network-float16").classes[0].label
        )
