"""A models folder that goes away, as an unmounted disk does, and folders in it that cannot be read."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.server.models.reloading import TextFolder


@pytest.fixture
def models(tmp_path: Path) -> TextFolder:
    """A folder that serves `m` and `n`."""
    return _two_models(tmp_path / "models")


def _two_models(folder: Path) -> TextFolder:
    models = TextFolder(folder)
    models.write("m", 1)
    models.write("n", 2)
    models.repository.load()
    models.record.take()
    return models


def test_a_folder_that_is_renamed_away_and_comes_back(models: TextFolder, caplog: pytest.LogCaptureFixture) -> None:
    away = models.folder.with_name("away")
    models.folder.rename(away)
    assert models.refresh(4) == []
    assert models.served() == ["m/1 good", "n/2 good"]
    gone = [record for record in caplog.records if "cannot be read: No such file or directory" in record.message]
    assert [record.levelno for record in gone] == [logging.ERROR], "said once"
    away.rename(models.folder)
    assert models.refresh(4) == []
    assert caplog.messages.count(f"the models folder {models.folder} is back") == 1
    assert models.loads == ["m/1", "n/2"]
    models.write("m", 2, "good new")
    assert models.refresh()[0] == "loaded m/2 good new"


@pytest.mark.parametrize("left", ["nothing", "empty models", "empty versions", "a hidden folder"])
def test_a_folder_without_any_model_file_keeps_all(
    models: TextFolder, caplog: pytest.LogCaptureFixture, left: str
) -> None:
    shutil.rmtree(models.folder)
    kept = {"nothing": "", "empty models": "m", "empty versions": "m/1", "a hidden folder": ".x/1"}[left]
    (models.folder / kept).mkdir(parents=True)
    assert models.refresh(4) == []
    assert models.served() == ["m/1 good", "n/2 good"]
    assert caplog.text.count("holds no NAME/VERSION/model.onnx any more, as when a disk is unmounted") == 1

    models.write("n", 2, "good back")
    assert models.refresh(1) == []
    assert models.refresh(1)[0] == "loaded n/2 good back", "what came back is served before what went is given up"
    assert models.served() == ["n/2 good back"]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting is not permitted here")
    yield folder
    subprocess.run(["umount", str(folder)], capture_output=True, check=False)


def test_a_disk_that_is_unmounted_and_mounted_empty(mount: Path, caplog: pytest.LogCaptureFixture) -> None:
    models = _two_models(mount)
    subprocess.run(["umount", str(mount)], check=True)
    assert models.refresh(3) == []
    assert models.served() == ["m/1 good", "n/2 good"]
    assert "holds no NAME/VERSION/model.onnx any more" in caplog.text
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(mount)], check=True)
    assert models.refresh(3) == []
    assert models.served() == ["m/1 good", "n/2 good"]
    models.write("m", 3, "good three")
    models.write("n", 2, "good n")
    models.refresh()
    assert models.served() == ["m/3 good three", "n/2 good n"]


def test_a_full_disk_leaves_half_a_file_which_is_refused(mount: Path) -> None:
    models = _two_models(mount)
    path = models.write("m", 2, "")
    with pytest.raises(OSError, match="No space left on device"):
        path.write_bytes(b"bad, as it is cut off".ljust(2 * 1024**2))
    assert 0 < path.stat().st_size < 2 * 1024**2
    assert models.refresh()[0].startswith("refused m/2 it is bad, as it is cut off")
    assert models.served() == ["m/1 good", "n/2 good"]
    models.write("m", 2, "good after all")
    assert models.refresh()[0] == "loaded m/2 good after all"


def test_a_model_whose_folder_cannot_be_listed_is_kept(models: TextFolder, caplog: pytest.LogCaptureFixture) -> None:
    folder = models.folder / "m"
    away = models.folder.with_name("m-away")
    folder.rename(away)
    folder.symlink_to(folder.name)  # leads to itself: listing it fails, for root too
    assert models.refresh(3) == ["refused m/0 its folder cannot be read: Too many levels of symbolic links"]
    assert models.served() == ["m/1 good", "n/2 good"]
    assert caplog.text.count("Too many levels") == 1
    folder.unlink()
    away.rename(folder)
    assert models.refresh(3) == []
    assert models.refused() == []
    assert models.loads == ["m/1", "n/2"]


def test_a_version_whose_file_cannot_be_looked_at_is_kept(models: TextFolder) -> None:
    path = models.path("m", 1)
    away = path.with_name("away")
    path.rename(away)
    path.symlink_to(path.name)
    assert models.refresh(3) == ["refused m/1 its file cannot be read: Too many levels of symbolic links"]
    assert models.served() == ["m/1 good", "n/2 good"]
    away.replace(path)
    assert models.refresh(3) == []
    assert models.refused() == []


def test_versions_may_be_links(models: TextFolder) -> None:
    releases = models.folder.with_name("releases")
    for release in ("a", "b"):
        (releases / release).mkdir(parents=True)
        (releases / release / "model.onnx").write_text(f"good {release}")
        os.utime(releases / release / "model.onnx", (1, 1))
    link = models.folder / "m" / "7"
    link.symlink_to(releases / "a")
    assert models.refresh()[0] == "loaded m/7 good a"
    link.unlink()
    link.symlink_to(releases / "b")  # the same time and size
    assert models.refresh() == ["loaded m/7 good b", "retired m/7"]
