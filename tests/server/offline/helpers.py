"""Sources of small images, a model that shows which image it saw, and the command in this process."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from covey_server.__main__ import main

SHAPE, CLASSES = (4, 4, 1), 10
COUNT = 40  # images of most sources
SMALL = ("--part-images", "8", "--batch-size", "8")  # five parts of COUNT images: twelve renames
BROKEN = b"\x89PNG\r\n\x1a\n and no more"


def png(label: int, value: int = 250, *, rest: int = 0) -> bytes:
    """An image of the echo model's size, which it holds for class `label`, with a probability of value / 255."""
    pixels = np.full(SHAPE[:2], rest, np.uint8)
    pixels.flat[label] = value
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def images(count: int) -> dict[str, bytes]:
    """By name, in order. Number n is of class n % 10, and tells its number by its probability; number 3 is broken."""
    files = {f"{number:04}.png": png(number % CLASSES, 100 + number % 150) for number in range(count)}
    if count > 3:
        files["0003.png"] = BROKEN
    return files


def write_folder(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def write_tar(path: Path, files: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def write_parquet(path: Path, files: Mapping[str, bytes | None], *, structs: bool = False, group: int = 7) -> Path:
    values: list[Any] = [{"bytes": data, "path": None} if structs else data for data in files.values()]
    table = pa.table({"name": list(files), "image": values, "size": [len(name) for name in files]})
    pq.write_table(table, path, row_group_size=group)
    return path


def batch(*arguments: object, parallel: str = "threads") -> int:
    """The exit code of `covey-server batch`, with two workers."""
    return main(["batch", *map(str, arguments), "--workers", "2", "--parallel", parallel, "--device", "cpu"])


def read(path: Path) -> list[dict[str, Any]]:
    """All rows, whatever the kind of file; empty fields of CSV are None, and all values of it are text."""
    if path.suffix == ".parquet":
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        return rows
    text = path.read_text()
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines()]
    return [{name: value or None for name, value in row.items()} for row in csv.DictReader(io.StringIO(text))]


def require_right(rows: list[dict[str, Any]], count: int) -> None:
    """Just the rows of `images(count)`, each once and in order."""
    assert [row["key"] for row in rows] == list(images(count))
    for number, row in enumerate(rows):
        if number == 3:
            assert (row["label"], row["index"], row["probability"]) == (None, None, None)
            assert "the PNG image of 20 bytes is damaged or cut off" in row["error"]
        else:
            assert row["error"] is None
            assert (row["label"], int(row["index"])) == (f"class {number % CLASSES}", number % CLASSES)
            assert float(row["probability"]) == np.float32(100 + number % 150) * np.float32(1 / 255)
