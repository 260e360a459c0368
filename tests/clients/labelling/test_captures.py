"""What `covey label` does to a folder: the order, the moves, what is written down, and what a sudden end leaves."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.clients.labelling.captured import CLASSES, places, write

from covey.errors import InvalidInput
from covey.labelling import keys
from covey.labelling.captures import Capture, Captures
from covey_proto import captures as layout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "captures" / "lenet")


def label_all(captures: Captures, *labels: str) -> None:
    for label in labels:
        capture = captures.next()
        assert capture is not None
        captures.label(capture, label)


def test_the_least_certain_come_first_and_land_in_the_folder_of_their_class(folder: Path) -> None:
    captures = Captures(folder)
    assert [(each.predicted, each.probability) for each in captures.pending()] == [
        ("cat", 0.21), ("dog", 0.312), ("cat", 0.5), ("bird/bat", 0.75),
    ]  # fmt: skip
    assert captures.classes == CLASSES
    label_all(captures, "dog", "dog")
    third = captures.next()
    assert third is not None
    captures.discard(third)
    assert (captures.decided, captures.waiting) == (3, 1)
    label_all(captures, "bird/bat")
    assert captures.next() is None
    assert places(folder) == {0: "dog", 1: "dog", 2: ".discarded", 3: "bird_bat"}
    captures.close()

    again = Captures(folder)
    assert again.next() is None  # nothing is asked twice
    assert again.decided == 4


def test_undo_takes_back_one_after_another_also_of_an_earlier_run(folder: Path) -> None:
    captures = Captures(folder)
    label_all(captures, "dog", "cat")
    captures.close()
    captures = Captures(folder)
    label_all(captures, "bird/bat")
    assert places(folder) == {0: "dog", 1: "cat", 2: "bird_bat", 3: "bird_bat"}
    undone = [captures.undo() for _ in range(4)]
    assert [each and each.probability for each in undone] == [0.5, 0.312, 0.21, None]
    assert undone[3] is None
    assert places(folder) == {0: "cat", 1: "dog", 2: "cat", 3: "bird_bat"}
    assert captures.next() == undone[2]
    label_all(captures, "cat")
    assert [each.decision for each in layout.read_labels(folder)] == ["labelled"] * 3 + ["undone"] * 3 + ["labelled"]
    captures.close()
    assert Captures(folder).decided == 1


def test_a_decision_that_was_written_down_is_carried_out_by_the_next_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    captures = Captures(folder)
    with monkeypatch.context() as patch:
        patch.setattr(Captures, "_move", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            label_all(captures, "dog")
    captures.close()
    assert places(folder)[0] == "cat"
    captures = Captures(folder)
    assert places(folder)[0] == "dog"
    assert captures.decided == 1

    with monkeypatch.context() as patch:
        patch.setattr(Captures, "_move", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            captures.undo()
    captures.close()
    captures = Captures(folder)
    assert places(folder)[0] == "cat"
    assert captures.decided == 0


def test_a_line_that_was_cut_off_is_left_out_and_the_next_one_begins_a_line(folder: Path) -> None:
    captures = Captures(folder)
    label_all(captures, "dog")
    captures.close()
    with (folder / layout.LABELS).open("ab") as file:
        file.write(b"0.312-20261130T0944")
    captures = Captures(folder)
    assert captures.decided == 1
    label_all(captures, "cat")
    captures.close()
    assert [each.label for each in layout.read_labels(folder)] == ["dog", "cat"]


@pytest.mark.parametrize("place", ["..", ".", "", "../lenet"])
def test_lines_that_name_another_place_move_nothing(folder: Path, place: str) -> None:
    for beside in (folder, folder.parent):
        (beside / "notes.txt").write_text("of somebody else")
    rows = [layout.LABEL_COLUMNS, ("notes.txt", "2026-11-30T09:44:00Z", place, "labelled", "cat")]
    (folder / layout.LABELS).write_bytes(b"".join(map(layout.row, rows)))
    assert Captures(folder).decided == 0
    assert (folder / "notes.txt").exists()
    assert (folder.parent / "notes.txt").exists()


def test_why_each_was_kept_is_told(folder: Path) -> None:
    table = folder / layout.CAPTURES
    reasons = iter(("random", "differs", "of a newer server"))
    lines = [
        line.replace(b"uncertain", next(reasons, "uncertain").encode())
        for line in table.read_bytes().splitlines(True)[1:]
    ]
    table.write_bytes(layout.row(layout.CAPTURE_COLUMNS) + b"".join(lines))
    texts = ["kept at random", "kept because another version says otherwise", "", "kept because the model was not sure"]
    captures = Captures(folder)
    assert [each.why for each in captures.pending()] == texts
    label_all(captures, "dog")
    assert captures.undo() is not None
    assert captures.pending()[0].why == texts[0]
    captures.close()


def test_what_a_server_captures_meanwhile_is_asked_too(folder: Path) -> None:
    captures = Captures(folder)
    label_all(captures, *["cat"] * 4)
    (folder / "dog" / "0.400-20261130T094400-47-9.png").write_bytes(b"new")
    found = captures.next()
    assert found is not None
    assert found.name == "0.400-20261130T094400-47-9.png"
    found.path.unlink()  # somebody deletes it by hand
    assert captures.next() is None


def test_a_decision_looks_at_no_other_image_however_many_wait(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    captures = Captures(write(folder, [("cat", place / 1000) for place in range(300)]))
    looks: list[Path] = []

    def name(capture: Capture) -> str:
        looks.append(capture.path)
        return capture.path.name

    monkeypatch.setattr(Capture, "name", property(name))
    label_all(captures, "dog", "dog")
    undone = captures.undo()
    assert undone is not None
    assert captures.find(undone.name) is undone is captures.next()
    assert len(looks) < 20


def test_what_cannot_be_is_refused_and_nothing_moves(folder: Path, tmp_path: Path) -> None:
    captures = Captures(folder)
    first = captures.next()
    assert first is not None
    with pytest.raises(InvalidInput, match=r"no class has the label '\.\./\.\./etc'"):
        captures.label(first, "../../etc")
    (folder / "dog" / first.name).write_bytes(b"another")
    with pytest.raises(InvalidInput, match=r"has another 0\.210"):
        captures.label(first, "dog")
    with pytest.raises(InvalidInput, match="another `covey label` is at work here"):
        Captures(folder)
    captures.close()
    assert first.path.exists()
    assert layout.read_labels(folder) == []

    with pytest.raises(InvalidInput, match="is no folder"):
        Captures(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput, match=r"expected a model's folder with captures\.csv, found no captures"):
        Captures(tmp_path / "empty")
    write(tmp_path / "captures" / "resnet")
    with pytest.raises(InvalidInput, match=r"those of 2 models; name one: .*lenet, .*resnet"):
        Captures(tmp_path / "captures")


def test_a_folder_with_one_model_means_that_model(folder: Path) -> None:
    assert Captures(folder.parent).folder == folder


def test_without_the_list_of_classes_those_that_were_seen_count(folder: Path) -> None:
    (folder / layout.CLASSES).unlink()
    (folder / "fish").mkdir()
    assert Captures(folder).classes == ("bird/bat", "cat", "dog", "fish")


def test_each_class_has_a_key_of_its_own_as_long_as_there_are_some() -> None:
    assert keys.of_classes([*"0123"]) == {"0": "0", "1": "1", "2": "2", "3": "3"}
    assert keys.of_classes(["cat", "dog", "7"]) == {"1": "cat", "2": "dog", "7": "7"}
    assert keys.of_classes(["u", "cat"])["u"] == "u"  # a class's own letter comes before the command
    many = keys.of_classes([f"class {place}" for place in range(1000)])
    assert len(many) == 33
    assert not set(many) & set(keys.COMMANDS)
    assert keys.find("do", ["dog", "door", "cat"], {}) == ["dog", "door"]
    assert keys.find("CAT", ["dog", "door", "cat"], {}) == ["cat"]
