"""The report as a JSON file: what was written is read again, and everything else is refused in words."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from covey.errors import InvalidInput
from covey_load.measurement import Capacity, Report
from covey_load.reports import json_file

from . import examples


@pytest.fixture
def report() -> Report:
    capacity = Capacity(5_200.0, 20.0, 0.99, [(2_000.0, 1.0), (8_000.0, 0.31)])
    swept = examples.sweep()
    empty_run = examples.run(
        response=examples.NOTHING, timing=None, server_process=None, metrics=None, invalid=["no answer"]
    )
    return examples.report(*swept, empty_run, capacity=capacity, slo_ms=20.0, interrupted="by Ctrl-C")


def test_what_was_written_is_read(report: Report, tmp_path: Path) -> None:
    json_file.write(tmp_path / "a.json", report)

    assert json_file.read(tmp_path / "a.json") == report
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_other_programs_can_read_it(report: Report, tmp_path: Path) -> None:
    json_file.write(tmp_path / "a.json", report)

    content = json.loads((tmp_path / "a.json").read_text())
    assert content["schema"] == 1
    assert content["runs"][0]["load"]["name"] == "concurrency 1"
    assert content["runs"][0]["response"]["percentiles_ms"]["99.9"] == report.runs[0].response.percentiles_ms["99.9"]
    assert content["runs"][2]["timing"]["batch_sizes"] == {"1": 10, "32": 990}


def test_failed_writing_leaves_the_old_file(report: Report, tmp_path: Path) -> None:
    folder = tmp_path / "a.json"
    folder.mkdir()

    with pytest.raises(InvalidInput, match=r"a\.json: is no file that could be replaced"):
        json_file.write(folder, report)
    with pytest.raises(InvalidInput, match=r"cannot be written \(No such file or directory\); give a file in a folder"):
        json_file.write(tmp_path / "missing" / "a.json", report)
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def change(report: dict[str, Any], fault: str) -> None:
    match fault:
        case "schema":
            report["schema"] = 2
        case "type":
            report["runs"][1]["calls"] = "many"
        case "missing":
            del report["runs"][1]["response"]["mean_ms"]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("schema", "is of schema 2, this covey reads 1; measure anew, or use that covey"),
        ("type", r"is no report of covey load --json: Expected `int`, got `str` - at `\$\.runs\[1\]\.calls`"),
        ("missing", r"missing required field `mean_ms` - at `\$\.runs\[1\]\.response`"),
    ],
)
def test_other_content_is_refused_by_its_place(report: Report, tmp_path: Path, fault: str, message: str) -> None:
    path = tmp_path / "a.json"
    json_file.write(path, report)
    content = json.loads(path.read_text())
    change(content, fault)
    path.write_text(json.dumps(content))

    with pytest.raises(InvalidInput, match=message):
        json_file.read(path)


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"{", b"[]", b"{}", b'{"schema": "1"}', b'{"schema": 1}', b"\xff\xfe"]
)
def test_what_is_no_report_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)

    with pytest.raises(InvalidInput, match=r"a\.json: is no report of covey load --json: "):
        json_file.read(tmp_path / "a.json")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"b\.json: cannot be read \(No such file or directory\)"):
        json_file.read(tmp_path / "b.json")


def test_a_device_is_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InvalidInput, match=r"pipe: is no file that could be replaced; give one, or a new name"):
        json_file.write_text(pipe, "text")
    assert pipe.is_fifo()


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to(tmp_path / "target.json")
    json_file.write_text(tmp_path / "link.json", "text")
    assert (tmp_path / "target.json").read_text() == "text"
    assert (tmp_path / "link.json").is_symlink()
