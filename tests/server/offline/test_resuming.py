"""A run that was ended at some point goes on from there: each image has one row in the end, whatever happened."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from bench.processes import ROOT
from tests.conftest import WriteModel
from tests.server.offline.helpers import (
    COUNT,
    SMALL,
    batch,
    images,
    png,
    read,
    require_right,
    write_parquet,
    write_tar,
)


def run_until_signal(
    moment: str, number: int, sent: signal.Signals, *arguments: object, parallel: str = "threads"
) -> subprocess.CompletedProcess[str]:
    """A run that gets a signal at this rename."""
    command = [sys.executable, "-m", "tests.server.offline.killed", moment, number, int(sent), *arguments]
    command += [*SMALL, "--workers", 2, "--parallel", parallel, "--device", "cpu"]
    return subprocess.run(
        [*map(str, command)], cwd=ROOT, capture_output=True, text=True, timeout=240, start_new_session=True
    )


# Before there is a run.json; with it alone; counts without their rows; a part; the result beside its parts.
@pytest.mark.parametrize(
    ("moment", "number", "parts"),
    [("before", 1, 0), ("after", 1, 0), ("after", 2, 0), ("after", 5, 2), ("before", 12, 5), ("after", 12, 5)],
)
def test_after_kill_9_the_same_command_goes_on(
    moment: str, number: int, parts: int, tmp_path: Path, folder: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.parquet"
    arguments = (folder, "--model", model, "--to", out)
    assert run_until_signal(moment, number, signal.SIGKILL, *arguments).returncode == -signal.SIGKILL
    assert out.exists() == ((moment, number) == ("after", 12))
    parts_folder = tmp_path / "out.parquet.parts"
    assert len(list(parts_folder.glob("*.parquet"))) == parts
    assert batch(*arguments, *SMALL) == 0
    require_right(read(out), COUNT)
    assert not parts_folder.exists()
    output = capsys.readouterr().out
    assert f"{COUNT - 8 * parts} images in " in output
    assert "40 rows" in output
    assert (f"{8 * parts} images had been done before" in output) == bool(parts)


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "parquet"])
def test_other_sources_go_on_in_their_middle(kind: str, tmp_path: Path, model: Path) -> None:
    path, files = tmp_path / f"images.{kind}", images(COUNT)
    source = write_parquet(path, files) if kind == "parquet" else write_tar(path, files)
    arguments = (source, "--model", model, "--to", tmp_path / "out.csv", "--key-column", "name")
    assert run_until_signal("after", 5, signal.SIGKILL, *arguments).returncode == -signal.SIGKILL
    assert batch(*arguments, *SMALL) == 0
    require_right(read(tmp_path / "out.csv"), COUNT)


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path, folder: Path, model: Path) -> None:
    arguments = (folder, "--model", model, "--to", tmp_path / "out.csv")
    done = run_until_signal("after", 3, signal.SIGKILL, *arguments, parallel="processes")
    assert done.returncode == -signal.SIGKILL
    children = [int(word) for word in done.stdout.split()]
    assert len(children) >= 2
    give_up = time.monotonic() + 60
    while any(map(_runs, children)):
        assert time.monotonic() < give_up, f"of {children} some are left"
        os.sched_yield()
    assert batch(*arguments, *SMALL, parallel="processes") == 0
    require_right(read(tmp_path / "out.csv"), COUNT)


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order(sent: signal.Signals, tmp_path: Path, folder: Path, model: Path) -> None:
    arguments = (folder, "--model", model, "--to", tmp_path / "out.jsonl")
    done = run_until_signal("after", 5, sent, *arguments, parallel="processes")
    assert done.returncode == 130
    assert "covey-server: stopped. 16 images are done and kept in " in done.stderr
    assert "the same command goes on from there" in done.stderr
    assert "Traceback" not in done.stderr
    assert batch(*arguments, *SMALL) == 0
    require_right(read(tmp_path / "out.jsonl"), COUNT)


def test_a_full_disk_ends_it_and_it_goes_on(tmp_path: Path, folder: Path, model: Path) -> None:
    arguments = [folder, "--model", model, "--to", tmp_path / "out.csv", "--probabilities", *SMALL, "--device", "cpu"]
    command = [sys.executable, "-m", "covey_server", "batch", *map(str, arguments), "--parallel", "threads"]

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))

    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}  # which Python would cut off at the limit, and keep
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        preexec_fn=limited,
        check=False,
    )
    assert done.returncode == 6, done.stderr
    assert "cannot be written: File too large" in done.stderr
    assert "images are done and kept in " in done.stderr
    assert batch(*arguments) == 0
    require_right(read(tmp_path / "out.csv"), COUNT)


class TestWhatChangedSince:
    """Parts are never mixed with rows of something else."""

    @pytest.fixture(autouse=True)
    def _interrupted(self, tmp_path: Path, folder: Path, model: Path) -> None:
        self.out = tmp_path / "out.csv"
        self.arguments: list[object] = [folder, "--model", model, "--to", self.out, *SMALL]
        run_until_signal("after", 5, signal.SIGKILL, *self.arguments[:5])
        assert len(list(tmp_path.glob("out.csv.parts/*.csv"))) == 2

    def refused(self, capsys: pytest.CaptureFixture[str], *more: object) -> str:
        """Why it does not go on; the parts are as they were."""
        parts = sorted(self.out.parent.glob("out.csv.parts/*.csv"))
        assert batch(*self.arguments, *more) == 2
        assert sorted(self.out.parent.glob("out.csv.parts/*.csv")) == parts
        message = capsys.readouterr().err
        assert "has parts of another run" in message
        assert "or begin anew: --restart" in message
        return message

    def test_the_source(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (folder / "0007b.png").write_bytes(png(2))
        assert "the source has changed, or is another one (40 images then, 41 images now)" in self.refused(capsys)

    def test_an_image_of_the_same_size(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (folder / "0004.png").write_bytes(images(COUNT)["0004.png"])
        assert "the source has changed" in self.refused(capsys)

    def test_the_model(self, tmp_path: Path, write_echo_model: WriteModel, capsys: pytest.CaptureFixture[str]) -> None:
        write_echo_model(tmp_path / "models", tolerance=1e-5)
        assert "the model's file has changed, or is another one" in self.refused(capsys)

    def test_an_option_and_a_new_beginning(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert "--top-k was 0, is 3" in self.refused(capsys, "--top-k", 3)
        assert batch(*self.arguments, "--top-k", 3, "--restart") == 0
        rows = read(self.out)
        require_right(rows, COUNT)
        assert "label_3" in rows[0]

    def test_workers_and_sizes_may_change(self) -> None:
        assert batch(*self.arguments[:5], "--batch-size", 4, "--part-images", 12) == 0
        require_right(read(self.out), COUNT)


def test_a_worker_that_is_killed_ends_it_with_a_sentence(tmp_path: Path, folder: Path, model: Path) -> None:
    arguments = (folder, "--model", model, "--to", tmp_path / "out.csv")
    done = run_until_signal("workers", 1, signal.SIGKILL, *arguments, parallel="processes")
    assert done.returncode == 6, done.stderr
    assert "a worker ran out of memory or was ended by the system" in done.stderr
    assert "No part was finished yet" in done.stderr
    assert "Traceback" not in done.stderr
    assert batch(*arguments, *SMALL) == 0
    require_right(read(tmp_path / "out.csv"), COUNT)
