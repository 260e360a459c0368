"""Networks with independent labels (a sigmoid each), and from where on a label is part of the answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.export.importing.imports import images, published, refused
from tests.export.importing.onnx_models import CLASSES, SIZE, save, small_cnn

from covey_export.errors import InvalidLabels
from covey_export.importing.settings import thresholds
from covey_proto.v1.classifier_pb2 import ModelInfo

LABELS = ("cat", "dog, domestic", "Größe")


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(("last", "options"), [("Sigmoid", ()), ("", ("--activation", "sigmoid"))])
def test_they_are_published_as_such(
    last: str, options: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    served = published(save(small_cnn(last=last), tmp_path), tmp_path / "models", *options)
    info = served.description.info
    assert info.answer == ModelInfo.ANSWER_INDEPENDENT
    assert list(info.thresholds) == [0.5]
    assert served.engine.run(images(2, (SIZE, SIZE, 3))).shape == (2, CLASSES)
    assert "; labels are given from a probability of 0.5 on" in capsys.readouterr().out


def test_thresholds_are_written_into_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, expected = save(small_cnn(last="Sigmoid"), tmp_path), [0.1, 0.2, 0.3, 0.4, 0.95]
    served = published(source, tmp_path / "models", "--thresholds", ",".join(map(str, expected)))
    assert list(served.description.info.thresholds) == pytest.approx(expected)
    assert json.loads((tmp_path / "models/net/1/import.json").read_text())["thresholds"] == expected
    assert "each from its own threshold on, 0.1 to 0.95" in capsys.readouterr().out


def test_where_one_class_is_right_there_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(save(small_cnn(), tmp_path), tmp_path / "models", capsys, "--thresholds", "0.5")
    assert "--thresholds are for independent labels" in message
    assert "say --activation sigmoid" in message


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("t.txt", "0.1\n0.2\n0.3\n"),
        ("t.json", "[0.1, 0.2, 0.3]"),
        ("t.json", json.dumps({"Gro\u0308ße": 0.3, "cat": 0.1, "dog, domestic": 0.2})),
        ("t.csv", 'cat,0.1\nGröße,0.3\n"dog, domestic",0.2\n'),
        ("t.csv", 'label,threshold\ncat,0.1\nGröße,0.3\n"dog, domestic",0.2\n'),
    ],
)
def test_kinds_of_files(file: str, text: str, tmp_path: Path) -> None:
    assert thresholds.read(write(tmp_path / file, text), LABELS) == (0.1, 0.2, 0.3)


def test_one_for_all() -> None:
    assert thresholds.read(None, LABELS) == (0.5,)
    assert thresholds.read("0.35", LABELS) == (0.35,)
    assert thresholds.read("0.4,0.4,0.4", LABELS) == (0.4,)


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("t.txt", "", "is empty"),
        ("t.txt", "0.1\nhalf\n", "expected a probability from 0 to 1, got 'half'"),
        ("t.txt", "0.1\n0.2\n", "expected one number for all labels, or 3, one for each in their order; got 2"),
        ("t.txt", "0.1\n0.2\n30\n", "expected a probability from 0 to 1, got 30.0"),
        ("t.txt", "0.1\n0.2\nnan\n", "expected a probability from 0 to 1, got nan"),
        ("t.json", '{"cat": 0.1}', "no number for 2 labels: dog, domestic, Größe"),
        ("t.json", '{"cat": 0.1, "dog, domestic": 1, "Größe": 0, "x": 0}', "1 name that are no labels: x"),
        ("t.json", '{"cat": true, "dog, domestic": 1, "Größe": 0}', "got True"),
        ("t.json", "{", "Expecting"),
        ("t.csv", "cat,0.1\ndog\n", "expected rows of label and number, got 'dog' alone"),
    ],
)
def test_what_is_wrong_is_said(file: str, text: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidLabels) as caught:
        thresholds.read(write(tmp_path / file, text), LABELS)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1.5", "got 1.5"), ("0.5,0.5", "got 2"), ("no/such.txt", "cannot be read"), ("1e999", "got inf")],
)
def test_what_is_no_threshold_is_said(value: str, expected: str) -> None:
    with pytest.raises(InvalidLabels, match=expected):
        thresholds.read(value, LABELS)
