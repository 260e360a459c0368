"""covey.testing's server, and the examples, each run against it as a user would run it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import covey
from covey.testing import FakeServer

EXAMPLES = Path(covey.__file__).parents[1] / "examples"


def _content(image: bytes) -> str:
    if image.startswith(b"bad"):
        raise ValueError("no image")
    return image.decode() if len(image) < 100 else f"pixel {image[0]}"


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with FakeServer(["cat", "dog"], answer=_content) as server:
        yield server


def test_it_answers_by_the_function_and_describes_its_model(fake: FakeServer) -> None:
    with covey.Client(fake.target) as client:
        client.wait_until_ready()
        assert client.classify(b"dog").best == covey.Class("dog", 1, 1.0)
        assert client.classify(np.full((28, 28), 3, np.uint8)).label == "pixel 3"
        with pytest.raises(covey.InvalidImage, match="no image"):
            client.classify(b"bad")
        with pytest.raises(covey.InvalidRequest, match="4 bytes of pixels; images have 784 each"):
            client.classify(np.zeros((2, 2), np.uint8))
        assert client.models() == [client.model()]
        assert client.model("fake", 1).labels == ("cat", "dog")
        with pytest.raises(covey.UnknownModel, match="no model 'other'"):
            client.model("other")
    assert fake.requests == 4


def test_it_fails_as_often_as_it_is_told(fake: FakeServer) -> None:
    fake.fail("RESOURCE_EXHAUSTED", "full", times=2, retry_after_ms=5)
    with covey.Client(fake.target) as client:
        assert client.classify(b"cat").label == "cat"
        assert fake.requests == 3
        fake.fail("INTERNAL", "broken")
        with pytest.raises(covey.ServerError, match="broken"):
            client.classify(b"cat")


def _run(name: str, *arguments: str, stdin: str = "") -> list[str]:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=True).stdout.splitlines()


def test_examples(fake: FakeServer, tmp_path: Path) -> None:
    for name in ("cat.jpg", "bad.png", "dog.png"):
        (tmp_path / name).write_text(Path(name).stem)
    cat, missing = tmp_path / "cat.jpg", tmp_path / "missing.jpg"
    (line,) = _run("one_image.py", str(cat), fake.target)
    assert line.startswith("cat, 100.0% sure, in ")
    assert _run("concurrent_requests.py", fake.target, stdin=f"{cat}\n{missing}\n") == [
        f"{cat}: cat",
        f"{missing}: {missing}: there is no such file",
    ]
    assert _run("folder_to_csv.py", str(tmp_path), fake.target) == [
        f"bad.png,{tmp_path / 'bad.png'}: no image",
        "cat.jpg,cat",
        "dog.png,dog",
    ]
    assert _run("camera.py", fake.target) == [f"pixel {brightness}" for brightness in range(0, 240, 8)]
