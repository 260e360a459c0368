"""A next version that differs from the one that callers get so far is published, and the difference is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.export.importing.imports import run
from tests.export.importing.onnx_models import save, small_cnn

LABELS = "cat,dog,owl,fox,hen"


@pytest.fixture
def models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A models folder with version 1 of `net`."""
    save(small_cnn(), tmp_path)
    assert run(tmp_path / "network.onnx", tmp_path / "models", "--labels", LABELS, "--like", "imagenet") == 0
    assert "warning" not in capsys.readouterr().out.replace("warning: the original gives nearly", "")
    return tmp_path / "models"


def said(models: Path, capsys: pytest.CaptureFixture[str], *options: str) -> list[str]:
    """The lines from the note about earlier versions on, of one more import."""
    assert run(models.parent / "network.onnx", models, *options) == 0
    lines = capsys.readouterr().out.splitlines()
    begin = next(place for place, line in enumerate(lines) if " already; " in line)
    end = next(place for place, line in enumerate(lines) if line.startswith("published "))
    return lines[begin:end]


def test_an_equal_one_is_not_warned_of(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (note,) = said(models, capsys, "--labels", LABELS, "--like", "imagenet")
    assert note == "note: net has 1 version already; servers give callers this one, version 2, from now on"


def test_labels_and_preprocessing_that_differ_are_named(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--mean", "0.5", "--std", "0.229,0.224,0.225", "--bgr", "--resize", "stretch")
    note, warning, *advice = said(models, capsys, "--labels", "dog,owl,cat,fox,hen", *options)
    assert note.endswith("version 2, from now on")
    assert warning == (
        "warning: net version 2 differs from version 1: labels: 3 of 5 moved, first: class 0 'dog' was 'cat'; "
        "resize stretch instead of shorter_side to 14; colour order bgr instead of rgb; mean 0.5 instead of 0.485, "
        "0.456, 0.406; std 0.225, 0.224, 0.229 instead of 0.229, 0.224, 0.225"
    )
    card, default = models / "net/1/MODEL_CARD.md", models / "net/default-version"
    assert advice == [
        f"  not meant: remove {models}/net/2 and publish it again as version 1 was ({card} says how)",
        (
            "  meant, but not for all callers: --name gives it a name of its own, or "
            f"`echo 1 > {default}` lets them go on getting version 1"
        ),
    ]


def test_it_is_compared_with_the_version_that_callers_get(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (models / "net" / "default-version").write_text("1\n")
    for other in ("2", "3"):  # which differs from version 1, and so does a version 3 that is equal to version 2
        note, warning, *_, meant = said(models, capsys, "--labels", "dog,cat,owl,fox,hen", "--like", "imagenet")
        assert note.endswith(
            f"its default-version names version 1, which callers go on getting until version {other} is promoted"
        )
        assert f"version {other} differs from version 1: labels: 2 of 5 moved" in warning
        assert meant == "  meant, but not for all callers: --name gives it a name of its own"


@pytest.mark.parametrize("content", [b"", b"\x08", b"no model", b"\x08\x07"])
def test_one_that_cannot_be_read_says_nothing(models: Path, capsys: pytest.CaptureFixture[str], content: bytes) -> None:
    (models / "net" / "1" / "model.onnx").write_bytes(content)
    (models / "net" / "default-version").write_bytes(b"\xff" + content)
    (note,) = said(models, capsys, "--labels", "dog,cat,owl,fox,hen")
    assert note.endswith("servers give callers this one, version 2, from now on")
