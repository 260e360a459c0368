"""`covey similar`: from image files and a server to an index, and from an image to those that are like it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from covey.cli import main
from covey.similar import Index
from covey.testing import FakeServer


def vector(image: bytes) -> list[float]:
    """Of a file that holds an angle's tangent."""
    return [1.0, float(image)] if image[:1].isdigit() else [0.0, 0.0]


def answer(image: bytes) -> str:
    if image.startswith(b"bad"):
        raise ValueError("no image")
    return "cat"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    with FakeServer(answer=answer, embedding=vector, model="net") as running:
        monkeypatch.setenv("COVEY_TARGET", running.target)
        yield running


@pytest.fixture(autouse=True)
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five images, two of them in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    folder = Path("photos")
    (folder / "more").mkdir(parents=True)
    for name, number in (("a", 0), ("b", 1), ("c", 2), ("more/d", 3), ("more/e", 4)):
        (folder / f"{name}.png").write_bytes(str(number).encode())
    return folder


def matches(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    return [[each["name"] for each in json.loads(line)["matches"]] for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def made(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> str:
    """An index of all of them."""
    assert main(["similar", "index", "photos", "--to", "idx"]) == 0
    assert capsys.readouterr().out == "idx: 5 images, 2 numbers each, by net version 1; searched exactly\n"
    return "idx"


def test_the_nearest_come_first(made: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("x.jpg").write_bytes(b"1.9")
    assert main(["similar", "query", "x.jpg", "--index", made, "--top", "3", "--json"]) == 0
    (found,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["name"] for each in found["matches"]] == ["c.png", "more/d.png", "more/e.png"]
    assert found["matches"][0]["path"] == str(Path("photos/c.png").absolute())
    assert found["matches"][0]["distance"] == pytest.approx(0.000216, abs=1e-5)
    assert (found["file"], found["model"], found["version"], found["exact"]) == ("x.jpg", "net", 1, True)


def test_for_people(made: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["similar", "query", "photos/a.png", "photos/b.png", "--index", made, "--top", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "photos/a.png",
        "DISTANCE  IMAGE",
        f"0.0000    {Path('photos/a.png').absolute()}",
        "",
        "photos/b.png",
        "DISTANCE  IMAGE",
        f"0.0000    {Path('photos/b.png').absolute()}",
    ]


def test_images_that_cannot_be_read_are_left_out(
    server: FakeServer, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "broken.jpg").write_bytes(b"bad")
    (photos / "notes.txt").write_bytes(b"1")
    assert main(["similar", "index", "photos", "--to", "idx"]) == 1
    errors = capsys.readouterr().err
    assert "left out 1 .txt" in errors
    assert "left out broken.jpg: " in errors
    assert len(Index.open("idx")) == 5


def test_added_when_new_or_written_since(
    made: str, server: FakeServer, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    requests_before = server.requests
    assert main(["similar", "add", "photos", "--index", made]) == 0
    assert "nothing new" in capsys.readouterr().out
    assert server.requests == requests_before, "no image was sent"
    (photos / "a.png").write_bytes(b"9.5")
    os.utime(photos / "a.png", ns=(1, 1))
    (photos / "f.png").write_bytes(b"7")
    assert main(["similar", "add", "photos", "--index", made]) == 0
    assert "idx: 6 images" in capsys.readouterr().out
    Path("x.jpg").write_bytes(b"9")
    assert main(["similar", "query", "x.jpg", "--index", made, "--top", "2", "--json"]) == 0
    assert matches(capsys) == [["a.png", "f.png"]]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_fifo_in_a_folder_is_left_out(made: str, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(photos / "z.png")
    assert main(["similar", "add", "photos", "--index", made]) == 0
    assert capsys.readouterr().err == "left out 1 FIFOs, sockets or devices\n"


def test_a_folder_with_other_files_does_not_become_an_index(
    server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["similar", "index", "photos", "--to", "photos"]) == 2
    assert "photos has other files in it, such as a.png; name a new folder or an empty one" in capsys.readouterr().err
    assert server.requests == 0


def test_files_of_other_folders_have_their_whole_path(made: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("elsewhere.png").write_bytes(b"5")
    assert main(["similar", "add", "elsewhere.png", "--index", made]) == 0
    assert str(Path("elsewhere.png").absolute()) in Index.open(made).names
    assert main(["similar", "remove", "elsewhere.png", "--index", made]) == 0
    assert len(Index.open(made)) == 5


@pytest.mark.parametrize(
    ("named", "left"),
    [
        (["photos/a.png"], ["b.png", "c.png", "more/d.png", "more/e.png"]),
        (["photos/more"], ["a.png", "b.png", "c.png"]),
        (["more/d.png", "a.png"], ["b.png", "c.png", "more/e.png"]),
        (["photos"], []),
        (["."], []),
        (["--missing"], ["a.png", "b.png", "more/d.png", "more/e.png"]),
    ],
)
def test_removed(made: str, photos: Path, named: list[str], left: list[str]) -> None:
    if "--missing" in named:
        (photos / "c.png").unlink()
    assert main(["similar", "remove", *named, "--index", made]) == 0
    assert Index.open(made).names == left


def test_removed_is_what_lies_there_and_not_what_else_is_called_so(
    made: str, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos / "more")
    Path("a.png").write_bytes(b"5")
    index = ["--index", f"../../{made}"]
    assert main(["similar", "add", "a.png", *index]) == 0
    assert main(["similar", "remove", "a.png", *index]) == 0
    assert Index.open(f"../../{made}").names == ["a.png", "b.png", "c.png", "more/d.png", "more/e.png"]
    assert main(["similar", "remove", ".", *index]) == 0
    assert Index.open(f"../../{made}").names == ["a.png", "b.png", "c.png"]


def test_what_is_not_there_cannot_be_removed(made: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["similar", "remove", "photos/z.png", "--index", made]) == 2
    assert "idx has none of these; 5 images stay" in capsys.readouterr().err


def test_another_version_is_refused(made: str, capsys: pytest.CaptureFixture[str]) -> None:
    about = json.loads(Path("idx/index.json").read_text())
    for changes, message in (
        ({"version": 2}, "was made by net version 2, which"),
        ({"digest": "other"}, "this is net version 1, but of another file than then"),
    ):
        Path("idx/index.json").write_text(json.dumps(about | changes))
        for command in (["query", "photos/a.png"], ["add", "photos"]):
            assert main(["similar", *command, "--index", made]) == 2
            assert message in capsys.readouterr().err


def test_a_model_without_an_embedding(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with FakeServer() as plain:
        monkeypatch.setenv("COVEY_TARGET", plain.target)
        assert main(["similar", "index", "photos", "--to", "idx"]) == 2
    assert "publishes no embedding; convert it with covey convert --embedding" in capsys.readouterr().err
    assert not Path("idx").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["index", "photos", "--to", "idx"], "has an index already"),
        (["index", "nowhere", "--to", "other"], "nowhere is no folder"),
        (["index", "empty", "--to", "other"], "empty holds no image; 1 .txt"),
        (["add", "nowhere", "--index", "idx"], "nowhere is not there"),
        (["query", "photos/a.png", "--index", "photos"], "photos is no index"),
        (["query", "photos/a.png", "--index", "idx", "--top", "0"], "top is 0"),
        (["query", "nowhere.png", "--index", "idx"], "nowhere.png"),
    ],
)
def test_wrong_usage(made: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    Path("empty/x.txt").write_bytes(b"")
    assert main(["similar", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not Path("other").exists()


def test_an_image_that_cannot_be_read_is_said_and_others_are_answered(
    made: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("bad.jpg").write_bytes(b"bad")
    assert main(["similar", "query", "bad.jpg", "photos/a.png", "--index", made, "--top", "1", "--json"]) == 1
    captured = capsys.readouterr()
    assert "bad.jpg: " in captured.err
    assert json.loads(captured.out)["file"] == "photos/a.png"
