"""What `covey batch` writes: the rows of each kind of source and of file, and of each kind of model."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.conftest import WriteModel
from tests.server.offline.helpers import (
    BROKEN,
    COUNT,
    batch,
    images,
    png,
    read,
    require_right,
    write_folder,
    write_parquet,
    write_tar,
)


def source(kind: str, folder: Path) -> Path:
    files = images(COUNT)
    match kind:
        case "folder":
            return write_folder(folder / "images", files | {"notes.txt": b"", ".hidden.png": b"", "a/.x/y.png": b""})
        case "parquet" | "structs":
            return write_parquet(folder / "images.parquet", files, structs=kind == "structs")
    return write_tar(folder / f"images.{kind}", files | {"0001.cls": b"7", "./._0001.png": b"x"})


@pytest.mark.parametrize("kind", ["folder", "tar", "tar.gz", "parquet", "structs"])
def test_each_kind_of_source_gives_a_row_for_each_image(
    kind: str, tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.parquet"
    assert batch(source(kind, tmp_path), "--model", model, "--to", out, "--key-column", "name") == 0
    require_right(read(out), COUNT)
    assert not (tmp_path / "out.parquet.parts").exists()
    output = capsys.readouterr().out
    assert "40 images in " in output
    assert "40 rows" in output
    assert "not readable as an image: 1" in output
    assert "  class 5            4   10.00%" in output
    if kind != "parquet" and kind != "structs":
        assert ("1 .txt" if kind == "folder" else "1 .cls") in output


def test_keys_of_odd_characters_stay_one_field_of_csv(tmp_path: Path, model: Path) -> None:
    names = ["a\rb.png", "c\nd.png", 'e"f,.png', "g\r\nh.png"]
    folder = write_folder(tmp_path / "images", dict.fromkeys(names, png(1)))
    assert batch(folder, "--model", model, "--to", tmp_path / "out.csv") == 0
    with (tmp_path / "out.csv").open(newline="") as file:
        assert [row["key"] for row in csv.DictReader(file)] == names
    plain = write_folder(tmp_path / "plain", {"a.png": png(1)})
    assert batch(plain, "--model", model, "--to", tmp_path / "plain.csv") == 0
    assert b"\r" not in (tmp_path / "plain.csv").read_bytes()


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_text_has_the_same_rows(suffix: str, tmp_path: Path, model: Path) -> None:
    files = write_folder(tmp_path / "images", images(COUNT))
    for out in (tmp_path / "out.parquet", tmp_path / f"out{suffix}"):
        options = ["--top-k", "2", "--probabilities", "--part-images", "16", "--batch-size", "8"]
        assert batch(files, "--model", model, "--to", out, *options) == 0
    expected, rows = read(tmp_path / "out.parquet"), read(tmp_path / f"out{suffix}")
    require_right(rows, COUNT)
    assert [list(row) for row in rows] == [list(row) for row in expected]
    for row, expected_row in zip(rows, expected, strict=True):
        probabilities = row["probabilities"]
        assert (json.loads(probabilities) if isinstance(probabilities, str) else probabilities) == expected_row[
            "probabilities"
        ]
        assert str(row["label_2"]) == str(expected_row["label_2"])


def test_the_file_says_of_which_model_its_rows_are(tmp_path: Path, model: Path) -> None:
    files = write_folder(tmp_path / "images", images(5))
    assert batch(files, "--model", model.parents[1], "--to", tmp_path / "out.parquet") == 0
    metadata = json.loads(pq.read_schema(tmp_path / "out.parquet").metadata[b"covey"])
    assert (metadata["model"]["name"], metadata["model"]["version"]) == ("echo", 1)
    assert metadata["labels"] == [f"class {index}" for index in range(10)]


def test_several_tar_files_and_several_parquet_files(tmp_path: Path, model: Path) -> None:
    files = list(images(COUNT).items())
    halves = [dict(files[:15]), dict(files[15:])]
    tars = [write_tar(tmp_path / f"{number}.tar", half) for number, half in enumerate(halves)]
    tables = [write_parquet(tmp_path / f"{number}.parquet", half) for number, half in enumerate(halves)]
    assert batch(*tars, "--model", model, "--to", tmp_path / "tars.csv") == 0
    assert batch(*tables, "--model", model, "--to", tmp_path / "tables.csv") == 0
    keys = [row["key"] for row in read(tmp_path / "tars.csv")]
    assert keys == [f"{number}.tar/{name}" for number, half in enumerate(halves) for name in half]
    keys = [row["key"] for row in read(tmp_path / "tables.csv")]
    assert keys == [f"0.parquet:{row}" for row in range(15)] + [f"1.parquet:{row}" for row in range(25)]


def test_processes_give_the_rows_that_threads_give(tmp_path: Path, model: Path) -> None:
    files = write_folder(tmp_path / "images", images(COUNT))
    assert batch(files, "--model", model, "--to", tmp_path / "out.parquet", parallel="processes") == 0
    require_right(read(tmp_path / "out.parquet"), COUNT)


def test_what_cannot_be_read_has_a_row_that_says_why(tmp_path: Path, model: Path) -> None:
    files = write_folder(tmp_path / "images", {"a.png": png(1), "b.png": b"", "d.png": png(2) + bytes(2000)})
    (files / "c.png").symlink_to(tmp_path / "nowhere.png")
    assert batch(files, "--model", model, "--to", tmp_path / "out.csv", "--max-image-bytes", 1000, "--strict") == 1
    errors = [row["error"] for row in read(tmp_path / "out.csv")]
    assert errors[0] is None
    assert "the image is empty (0 bytes)" in errors[1]
    assert errors[2] == "the image cannot be read: No such file or directory"
    assert "at most 1,000 are read" in errors[3]
    rows = {"null": None, "large": png(2) + bytes(2000), "good": png(3)}
    table = write_parquet(tmp_path / "images.parquet", rows)
    assert batch(table, "--model", model, "--to", tmp_path / "table.csv", "--max-image-bytes", 1000) == 0
    table_rows = read(tmp_path / "table.csv")
    assert table_rows[0]["error"] == "the image cannot be read: row 0 of images.parquet has no image (null)"
    assert "2,0" in table_rows[1]["error"]
    assert table_rows[2]["label"] == "class 3"


def test_an_image_the_model_fails_on_fails_alone(tmp_path: Path, write_echo_model: WriteModel) -> None:
    files = {f"{number}.png": png(number % 10) for number in range(12)}
    files |= {"3.png": png(3, 201), "7.png": png(7, 202)}
    folder = write_folder(tmp_path / "images", files)
    for trouble, number, text in (("fails_at", 201, "onnxruntime failed"), ("nan_at", 202, "not finite")):
        model = write_echo_model(tmp_path / trouble, **{trouble: number})
        out = tmp_path / f"{trouble}.csv"
        assert batch(folder, "--model", model, "--to", out, "--batch-size", "8") == 0
        rows = {row["key"]: row for row in read(out)}
        bad = "3.png" if trouble == "fails_at" else "7.png"
        assert text in rows[bad]["error"]
        assert rows[bad]["label"] is None
        assert [key for key, row in rows.items() if row["error"]] == [bad]
        assert all(row["label"] == f"class {int(key[:-4]) % 10}" for key, row in rows.items() if key != bad)


def test_a_model_that_knows_what_it_does_not_know(
    tmp_path: Path, write_echo_model: WriteModel, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_echo_model(tmp_path / "models", known_from=0.5)
    folder = write_folder(tmp_path / "images", {"a.png": png(1, 200), "b.png": png(2, 100), "c.png": BROKEN})
    for suffix in ("csv", "parquet"):
        assert batch(folder, "--model", model, "--to", tmp_path / f"out.{suffix}") == 0
    assert [row["known"] for row in read(tmp_path / "out.parquet")] == [True, False, None]
    assert [row["known"] for row in read(tmp_path / "out.csv")] == ["true", "false", None]
    assert "1 image of these is of no known class" in capsys.readouterr().out


def test_independent_labels_are_those_that_reach_their_threshold(tmp_path: Path, write_echo_model: WriteModel) -> None:
    model = write_echo_model(tmp_path / "models", thresholds=[0.5])
    both = png(1, 200, rest=150)
    folder = write_folder(tmp_path / "images", {"a.png": both, "b.png": png(2, 100), "c.png": png(4, 255)})
    assert batch(folder, "--model", model, "--to", tmp_path / "out.parquet", "--top-k", "3") == 0
    rows = read(tmp_path / "out.parquet")
    assert [[row[f"index{end}"] for end in ("", "_2", "_3")] for row in rows] == [
        [1, 0, 2],
        [None, None, None],
        [4, None, None],
    ]
    assert rows[0]["probability_2"] == np.float32(150) * np.float32(1 / 255)
    assert [row["error"] for row in rows] == [None] * 3
