"""Vectors by a model's file, without a server: the same as by a server of that file."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.conftest import WriteModel
from tests.server.conftest import running_servers

from covey.cli import main
from covey.errors import InvalidImage, InvalidInput
from covey.similar import Index
from covey.similar.offline import FileEmbedder

COUNT = 70  # more than a batch


@pytest.fixture(autouse=True)
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = Path("photos")
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (COUNT, 4, 4), dtype=np.uint8)
    for place, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{place:02}.png")
    return folder


@pytest.fixture
def file(tmp_path: Path, write_echo_model: WriteModel) -> Path:
    return write_echo_model(tmp_path / "models", "echo", embedding=True)


def test_vectors_come_in_order_and_errors_in_their_places(photos: Path, file: Path) -> None:
    (photos / "05.png").write_bytes(b"no image")
    found = list(FileEmbedder(file).embed([*sorted(photos.iterdir()), Path("gone.png")]))
    assert len(found) == COUNT + 1
    for place, vector in enumerate(found):
        if place in (5, COUNT):
            assert isinstance(vector, InvalidImage)
            continue
        pixels = np.asarray(Image.open(photos / f"{place:02}.png")).ravel()
        assert not isinstance(vector, Exception)
        np.testing.assert_allclose(vector, pixels / np.float32(255), rtol=1e-6)
    assert "gone.png cannot be read" in str(found[COUNT])


def test_an_index_is_of_the_same_model_by_either_way(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["similar", "index", "photos", "--to", "idx", "--model-file", str(file)]) == 0
    assert f"idx: {COUNT} images, 16 numbers each, by echo version 1" in capsys.readouterr().out
    query = ["similar", "query", "photos/33.png", "--index", "idx", "--top", "3", "--json"]
    assert main([*query, "--model-file", str(file.parent)]) == 0
    by_file = json.loads(capsys.readouterr().out)
    assert by_file["matches"][0] == {"name": "33.png", "path": str(Path("photos/33.png").absolute()), "distance": 0}
    with running_servers("grpcio") as start:
        monkeypatch.setenv("COVEY_TARGET", start(Path("models")).target)
        assert main(query) == 0
    assert json.loads(capsys.readouterr().out) == by_file


def test_a_copy_of_the_file_under_another_name_is_the_same_model(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server calls it by its folders, whatever the file says."""
    copied = Path("copies/other/7/model.onnx")
    copied.parent.mkdir(parents=True)
    shutil.copy(file, copied)
    with running_servers("grpcio") as start:
        monkeypatch.setenv("COVEY_TARGET", start(Path("copies")).target)
        assert main(["similar", "index", "photos", "--to", "idx"]) == 0
    assert "by other version 7" in capsys.readouterr().out
    query = ["similar", "query", "photos/33.png", "--index", "idx", "--top", "1", "--json"]
    assert main([*query, "--model-file", str(copied)]) == 0


def test_files_are_read_within_the_limits_of_servers(photos: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if hasattr(os, "mkfifo"):
        os.mkfifo("fifo.png")
        (found,) = FileEmbedder(file).embed([Path("fifo.png")])
        assert "it is a FIFO, expected a regular file" in str(found)
    with Path("large.png").open("wb") as large:
        large.truncate(2**30)
    (found,) = FileEmbedder(file).embed([Path("large.png")])
    assert "at most 67,108,864 are read" in str(found)


def test_another_file_is_refused(file: Path, write_echo_model: WriteModel, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["similar", "index", "photos", "--to", "idx", "--model-file", str(file)]) == 0
    other = write_echo_model(Path("others"), "echo", embedding=True, shift=1)
    assert main(["similar", "query", "photos/33.png", "--index", "idx", "--model-file", str(other)]) == 2
    assert "this is echo version 1, but of another file than then" in capsys.readouterr().err
    assert len(Index.open("idx")) == COUNT


def test_a_file_that_cannot_be_used(
    file: Path, write_echo_model: WriteModel, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InvalidInput, match=r"nothing\.onnx cannot be used: .*cannot be read"):
        FileEmbedder(Path("nothing.onnx"))
    plain = write_echo_model(Path("others"), "plain")
    assert main(["similar", "index", "photos", "--to", "idx", "--model-file", str(plain)]) == 2
    assert "publishes no embedding; convert it with covey convert --embedding" in capsys.readouterr().err
    shutil.copy(__file__, "text.onnx")
    with pytest.raises(InvalidInput, match=r"text\.onnx cannot be used"):
        FileEmbedder(Path("text.onnx"))
