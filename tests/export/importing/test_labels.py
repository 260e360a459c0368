"""Labels come from whatever file people keep them in, and are counted against the outputs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.export.importing.imports import published, refused
from tests.export.importing.onnx_models import save, small_cnn

from covey_export.errors import InvalidLabels
from covey_export.importing.settings import labels

NAMES = ("cat", "dog, domestic", "Größe", "鳥", "a b")


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("labels.txt", "cat\ndog, domestic\nGröße\n鳥\na b\n"),
        ("labels.txt", "\ufeffcat\r\ndog, domestic\r\nGröße\r\n鳥\r\na b\r\n\r\n"),
        ("synset_words.names", "cat\ndog, domestic\nGro\u0308ße\n鳥\na b"),
        ("labels.json", json.dumps(NAMES)),
        ("labels.json", json.dumps({str(place): name for place, name in enumerate(NAMES)})),
        ("labels.json", json.dumps({name: place for place, name in reversed(list(enumerate(NAMES)))})),
        ("labels.json", json.dumps({str(place): [f"n{place}", name] for place, name in enumerate(NAMES)})),
        ("labels.json", json.dumps({str(place + 1): name for place, name in enumerate(NAMES)})),
        ("config.json", json.dumps({"model_type": "vit", "id2label": {str(i): name for i, name in enumerate(NAMES)}})),
        ("config.json", json.dumps({"label2id": {name: i for i, name in enumerate(NAMES)}})),
        ("config.json", json.dumps({"num_classes": 5, "label_names": NAMES})),
        ("labels.txt", str(dict(enumerate(NAMES)))),
        ("labels", str(list(NAMES))),
        ("labels.csv", 'index,label\n1,"dog, domestic"\n0,cat\n2,Größe\n3,鳥\n4,a b\n'),
        ("labels.csv", 'label,id\ncat,0\n"dog, domestic",1\nGröße,2\n鳥,3\na b,4\n'),
        ("labels.csv", '0,cat\n1,"dog, domestic"\n2,Größe\n3,鳥\n4,a b\n'),
        ("labels.csv", 'name\ncat\n"dog, domestic"\nGröße\n鳥\na b\n'),
        ("labels.csv", 'cat\n"dog, domestic"\nGröße\n鳥\na b\n'),
        ("labels.tsv", "index\tname\n0\tcat\n1\tdog, domestic\n2\tGröße\n3\t鳥\n4\ta b\n"),
    ],
)
def test_kinds_of_files(file: str, text: str, tmp_path: Path) -> None:
    assert labels.read(str(write(tmp_path / file, text))) == NAMES


def test_a_list_with_commas() -> None:
    assert labels.read('cat, "dog, domestic",Gro\u0308ße,鳥,a b') == NAMES
    many = [f"a label {place}" for place in range(1000)]
    assert labels.read(",".join(many)) == tuple(many), "far longer than a file's name may be"


def test_a_few_that_are_alike_are_told_apart() -> None:
    """ImageNet's lists have `crane` twice: a bird and a machine."""
    names = [f"n{place}" for place in range(1000)]
    names[134] = names[517] = names[600] = "crane"
    names[700] = "crane (2)"
    names_found, notes = labels.distinct("--labels x", names)
    assert [names_found[place] for place in (134, 517, 600, 700)] == ["crane", "crane (3)", "crane (4)", "crane (2)"]
    assert len(set(names_found)) == 1000
    assert notes[0] == "'crane' is the label of output 134 and of output 517; that is named 'crane (3)'"
    with pytest.raises(InvalidLabels, match="expected a name of its own for each, such as 'crane"):
        labels.distinct("--labels x", ["crane"] * 1000)


def test_those_that_are_told_apart_are_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["crane" if place in (7, 50) else f"n{place}" for place in range(60)]
    source = save(small_cnn(classes=60), tmp_path)
    served = published(source, tmp_path / "models", "--labels", ",".join(names))
    assert served.description.labels[50] == "crane (2)"
    assert (
        "note: 'crane' is the label of output 7 and of output 50; that is named 'crane (2)'" in capsys.readouterr().out
    )


def test_names_of_many_lines_and_odd_ones(tmp_path: Path) -> None:
    """Brackets are neither JSON nor markup; only line ends end a line."""
    names = ("[red]", "[blue], [/]", ":train:", "a\u2028b", "{x}", "العربية", *(f"n{place}" for place in range(5000)))
    assert labels.read(str(write(tmp_path / "labels.txt", "\n".join(names)))) == names


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("labels.txt", "", "is empty"),
        ("labels.txt", "cat\n\ndog\n", "label 2 is empty"),
        ("labels.txt", "cat\ndog\ncat\n", "'cat' is the label of output 0 and of output 2"),
        ("labels.txt", "cat\ncat \n", "'cat' is the label of output 0 and of output 1"),
        ("labels.txt", "a\u200bb\na b\n", "is the label of output 0 and of output 1"),
        ("labels.json", '{"0": "cat", "2": "dog"}', "expected the indices 0 to 1, each once; missing 1"),
        ("labels.json", '{"cat": 0, "dog": 0}', "expected the indices 0 to 1, each once"),
        ("labels.json", '{"cat": "x"}', "its keys are cat"),
        ("labels.json", "[1, 2]", "expected a JSON list of labels"),
        ("labels.json", '"cat"', "expected a JSON list of labels"),
        ("labels.json", '["cat", ', "Expecting"),
        ("labels.csv", "a,b\nc,d\n", "expected a CSV of index and label"),
        ("labels.csv", "index,label\n0,cat\nx,dog\n", "expected whole numbers as indices, got 'x'"),
        ("labels.csv", "index,label\n0,cat\n1\n", "row 2 has no label"),
    ],
)
def test_files_that_are_wrong(file: str, text: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidLabels, match="--labels") as caught:
        labels.distinct("--labels", labels.read(str(write(tmp_path / file, text))))
    assert expected in str(caught.value)


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    for value in ("none.txt", "my,labels.json", "only", ""):
        with pytest.raises(InvalidLabels, match="there is no such file; expected a file of labels, or two"):
            labels.read(value)
    with pytest.raises(InvalidLabels, match=r"is a folder; expected a file of labels.*--samples"):
        labels.read(str(tmp_path))
    (tmp_path / "latin.txt").write_bytes("Größe\n".encode("latin-1"))
    with pytest.raises(InvalidLabels, match="expected UTF-8"):
        labels.read(str(tmp_path / "latin.txt"))


def test_they_reach_the_model(tmp_path: Path) -> None:
    file = write(tmp_path / "labels.txt", "\n".join(NAMES))
    served = published(save(small_cnn(), tmp_path), tmp_path / "models", "--labels", file)
    assert served.description.labels == NAMES


@pytest.mark.parametrize(
    ("count", "alike", "is_taken"),
    [(5, 1, True), (5, 2, False), (8, 2, True), (100, 2, True), (100, 3, False), (200, 4, True), (200, 5, False),
     (3, 1, False), (2, 1, False)],
)  # fmt: skip
def test_a_few_are_two_or_two_in_a_hundred_and_at_most_a_quarter(count: int, alike: int, is_taken: bool) -> None:
    names = ["crane"] * (alike + 1) + [f"n{place}" for place in range(count - alike - 1)]
    if is_taken:
        found, notes = labels.distinct("--labels x", names)
        assert found[: alike + 1] == ("crane", *(f"crane ({place})" for place in range(2, alike + 2)))
        assert len(notes) == alike
    else:
        with pytest.raises(InvalidLabels, match="expected a name of its own for each, such as 'crane"):
            labels.distinct("--labels x", names)


@pytest.mark.parametrize("text", ["\na\nb\nc\nd\ne\n", "a\nb\n\nc\nd\ne\n"])
def test_a_blank_line_is_named(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not a heading, and not a class for the background."""
    file = write(tmp_path / "labels.txt", text)
    message = refused(save(small_cnn(), tmp_path), tmp_path / "models", capsys, "--labels", file)
    place = text.split("\n").index("") + 1
    assert f"Label {place} is empty, as of a blank line: delete it, or give that class its name." in message
    assert "heading" not in message


@pytest.mark.parametrize(("count", "hint"), [(6, "may be a heading"), (4, "class for the background"), (2, "")])
def test_a_wrong_number_is_refused(count: int, hint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "labels.txt", "\n".join(f"x{place}" for place in range(count)))
    message = refused(save(small_cnn(), tmp_path), tmp_path / "models", capsys, "--labels", file)
    assert f"expected 5 labels, one for each output, got {count} (x0, x1" in message
    assert hint in message
