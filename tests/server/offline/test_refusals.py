"""What `covey batch` does not do: each time a sentence that says what was expected, what came, and what to do."""

from __future__ import annotations

import fcntl
import os
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.conftest import WriteModel
from tests.server.offline.helpers import batch, images, png, read, write_folder, write_parquet, write_tar


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "images", images(5))


def refused(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 2) -> str:
    """Its message, the only line that it prints."""
    assert batch(*arguments) == code
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("covey-server: ")
    assert len(output.err.splitlines()) == 1
    return output.err


def test_sources(tmp_path: Path, folder: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--model", model, "--to", tmp_path / "out.csv")
    write_folder(tmp_path / "text", {"a.txt": b"", "b.tar": b""})
    (tmp_path / "empty").mkdir()
    (tmp_path / "no.tar").write_bytes(b"no tar file at all" * 100)
    for source, text in (
        (["nowhere"], "nowhere: there is no such file or folder; expected a folder of images, tar files or Parquet"),
        ([tmp_path / "empty"], "expected images (.jpg, .png, .webp, .gif, .avif), found no file"),
        ([tmp_path / "text"], "found 1 .tar, 1 .txt; to classify what they hold, name them: "),
        ([folder / "0001.png"], "one image: covey classify"),
        ([folder, folder], "expected one folder, or files of one kind"),
        (["gs://bucket/images"], "gs:// is not read, only s3:// is; copy it first, or mount it"),
        (["s3://"], "s3://: expected s3://BUCKET/PREFIX; it names no bucket"),
        (["s3://bucket/images?x=1"], "s3://bucket/images: expected a URL without ? and #"),
        (["s3://bucket/images", folder], "expected one folder, or files of one kind"),
        ([tmp_path / "no.tar"], "Expected a whole tar file"),
        ([write_tar(tmp_path / "labels.tar", {"a.cls": b"1"})], "expected images (.jpg, .png, .webp, .gif, .avif) in "),
        ([tmp_path / "no.tar", write_parquet(tmp_path / "x.parquet", images(5))], "expected files of one kind"),
    ):
        assert text in refused(capsys, *source, *options)
        assert not (tmp_path / "out.csv.parts").exists()


def test_a_tar_file_that_was_cut_off(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("images.tar", "images.tar.gz"):
        whole = write_tar(tmp_path / name, {f"{number}.png": png(1) + os.urandom(3000) for number in range(40)})
        whole.write_bytes(whole.read_bytes()[:-30_000])
        arguments = (whole, "--model", model, "--to", tmp_path / f"{name}.csv", "--batch-size", 1)
        message = refused(capsys, *arguments)
        assert "cannot be read on behind member " in message
        assert "fetch or pack it again" in message


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data, header: data[: header + 100], "the next header is damaged (truncated header)"),
        (lambda data, header: data[:header], "it ends without the empty blocks that close a tar file"),
        (lambda data, header: data[:header] + os.urandom(512) + data[header + 512 :], "the next header is damaged"),
    ],
    ids=["within a header", "between two members", "a header of noise"],
)
def test_a_tar_file_that_ends_too_early(
    damage: Callable[[bytes, int], bytes], reason: str, tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No image may be lost without a word."""
    whole = write_tar(tmp_path / "images.tar", {f"{number}.png": png(1) for number in range(5)})
    with tarfile.open(whole) as archive:
        header = archive.getmembers()[3].offset
    whole.write_bytes(damage(whole.read_bytes(), header))
    message = refused(capsys, whole, "--model", model, "--to", tmp_path / "out.csv", "--batch-size", 1)
    assert f"cannot be read on behind member 2.png: {reason}" in message


def test_parquet(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--model", model, "--to", tmp_path / "out.csv")
    table = write_parquet(tmp_path / "images.parquet", images(5))
    message = refused(capsys, table, *options, "--image-column", "picture")
    assert "no column 'picture'; it has name: string, image: binary, size: int64" in message
    assert "--image-column NAME" in message
    assert "no column 'id'" in refused(capsys, table, *options, "--key-column", "id")
    assert "column 'size' is of int64; expected encoded images" in refused(
        capsys, table, *options, "--image-column", "size"
    )
    table.write_bytes(table.read_bytes()[:-20])
    assert "no whole Parquet file" in refused(capsys, table, *options)
    pq.write_table(pa.table({"image": pa.array([], pa.binary())}), table)
    assert "expected rows with images, found none" in refused(capsys, table, *options)


def test_targets(tmp_path: Path, folder: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = (folder, "--model", model, "--to")
    (tmp_path / "there.csv").write_text("mine")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").write_text("")
    for target, text in (
        ("out.txt", "expected a file that ends with .parquet, .csv or .jsonl"),
        ("nowhere/out.csv", "mkdir -p"),
        ("there.csv", "the file is there already; name another one, or replace it: --restart"),
        ("folder.csv", "expected the name of a file, this is a folder"),
    ):
        assert text in refused(capsys, *source, tmp_path / target)
    assert (tmp_path / "there.csv").read_text() == "mine"
    assert batch(*source, tmp_path / "there.csv", "--restart") == 0
    assert len(read(tmp_path / "there.csv")) == 5
    capsys.readouterr()
    assert "cannot be made" in refused(capsys, *source, "/proc/out.csv")


def test_engines(
    tmp_path: Path, folder: Path, model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = (folder, "--model", model, "--to", tmp_path / "out.csv")
    message = refused(capsys, *arguments, "--ray-address", "10.0.0.1:6379")
    assert "--ray-address 10.0.0.1:6379: goes with --engine ray only" in message
    monkeypatch.setitem(sys.modules, "ray", None)  # as where it is not installed
    monkeypatch.delitem(sys.modules, "covey_server.offline.ray_pool", raising=False)
    message = refused(capsys, *arguments, "--engine", "ray")
    assert "needs the package ray, which is not installed here: pip install 'covey-serve[cpu,ray]'" in message
    assert not (tmp_path / "out.csv.parts").exists()


def test_two_runs_of_one_target(tmp_path: Path, folder: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = tmp_path / "out.csv.parts"
    parts.mkdir()
    (parts / "mine.txt").write_text("")
    with (parts / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        message = refused(capsys, folder, "--model", model, "--to", tmp_path / "out.csv")
        assert "another process is writing it" in message
    assert batch(folder, "--model", model, "--to", tmp_path / "out.csv") == 0
    assert [path.name for path in parts.iterdir()] == ["mine.txt"]  # it is not ours


def test_models(tmp_path: Path, folder: Path, write_echo_model: WriteModel, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--to", tmp_path / "out.csv")
    skewed = write_echo_model(tmp_path / "skewed", wrong_golden=True)
    assert "golden set: " in refused(capsys, folder, "--model", skewed, *options, code=3)
    foreign = write_echo_model(tmp_path / "foreign", info=False)
    assert "covey import" in refused(capsys, folder, "--model", foreign, *options, code=3)
    assert "there is no such file or folder" in refused(capsys, folder, "--model", tmp_path / "x.onnx", *options)
    good = write_echo_model(tmp_path / "good")
    write_echo_model(tmp_path / "good", "other")
    assert refused(capsys, folder, "--model", tmp_path / "good", *options).endswith(
        f"got a folder of models; say --model {tmp_path}/good/echo or {tmp_path}/good/other\n"
    )
    assert "--top-k 11: expected 1 to 10" in refused(capsys, folder, "--model", good, *options, "--top-k", 11)
    assert not (tmp_path / "out.csv.parts").exists()


def test_a_models_folder_means_its_default_version(
    tmp_path: Path, folder: Path, write_echo_model: WriteModel, capsys: pytest.CaptureFixture[str]
) -> None:
    for version in (1, 2, 10):
        write_echo_model(tmp_path / "models", version=version, wrong_golden=version != 2)
    name = tmp_path / "models" / "echo"
    options = ("--to", tmp_path / "out.csv")
    assert "golden set" in refused(capsys, folder, "--model", name, *options, code=3)
    (name / "default-version").write_text("two\n")
    assert "holds 'two': expected the number of a version" in refused(capsys, folder, "--model", name, *options)
    (name / "default-version").write_text("2\n")
    assert batch(folder, "--model", name, *options) == 0
    (name / "default-version").write_text("2\n1\n")  # as a promotion writes it
    assert batch(folder, "--model", name, *options, "--restart") == 0
    assert batch(folder, "--model", name / "2", *options, "--restart") == 0


def test_options(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, text in (
        (["images"], "the following arguments are required: --model, --to"),
        (["images", "--model", "x", "--to", "y", "--top-k", "0"], "expected a whole number from 1 up, not 0"),
        (["images", "--model", "x", "--to", "y", "--top-k", "two"], "expected a whole number from 1 up, not two"),
        (["images", "--model", "x", "--to", "y", "--top-l", "2"], "Did you mean --top-k?"),
    ):
        assert batch(*arguments) == 2
        assert text in capsys.readouterr().err
