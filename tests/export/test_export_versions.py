"""The folders of a model's versions: each number taken once, whoever asks at once and whoever was killed."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.export.recorded_report import RecordedReport, tree

from covey_export import model_versions, publication, verification_record
from covey_export.checkpoint import Checkpoint
from covey_export.datasets import Dataset
from covey_export.errors import ExportError
from covey_export.naming import require_model_name
from covey_export.networks import NETWORKS
from covey_export.trained_model import TrainedModel

MLP = NETWORKS["mlp"]


def test_the_next_free_one_is_taken(
    trained: Checkpoint, small: Dataset, tmp_path: Path, report: RecordedReport
) -> None:
    (tmp_path / "mlp" / "4").mkdir(parents=True)
    (tmp_path / "mlp" / "notes").mkdir()
    found = publication.publish(TrainedModel(MLP, trained, small), tmp_path, "mlp", report)
    assert found.path == tmp_path / "mlp" / "5" / "model.onnx"
    assert found.info.version == 5
    assert tree(found.path.parent) == {"model.onnx", "verification.json"}


def test_many_at_once_get_one_each(tmp_path: Path) -> None:
    def publish(number: int) -> int:
        with model_versions.NewVersion(tmp_path, "net") as new:
            (new.folder / "model.onnx").write_text(f"{number} {new.version}")
            return int(new.publish().name)

    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(publish, range(40)))
    assert sorted(taken) == list(range(1, 41))
    for number, version in enumerate(taken):
        assert (tmp_path / "net" / str(version) / "model.onnx").read_text() == f"{number} {version}"
    assert tree(tmp_path / "net") == {str(n) for n in taken} | {f"{n}/model.onnx" for n in taken}


def test_what_a_killed_process_left_is_removed_and_its_number_used(tmp_path: Path) -> None:
    """Not what one at work has."""
    program = (
        "import os, signal, sys; from pathlib import Path; from covey_export.model_versions import NewVersion\n"
        "with NewVersion(Path(sys.argv[1]), 'net') as new:\n"
        "    (new.folder / 'model.onnx').touch(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    with model_versions.NewVersion(tmp_path, "net") as at_work:
        subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
        assert tree(tmp_path / "net") == {".incomplete-1", ".incomplete-2", ".incomplete-2/model.onnx"}
        with model_versions.NewVersion(tmp_path, "net") as new:
            assert tree(tmp_path / "net") == {".incomplete-1", ".incomplete-2"}
            assert new.publish().name == "2"
        assert at_work.publish().name == "1"
    assert tree(tmp_path / "net") == {"1", "2"}


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "..", "x" * 65, "spa ce"])
def test_a_name_that_is_no_folders_is_refused(name: str) -> None:
    with pytest.raises(ExportError, match="cannot be a model's name"):
        require_model_name(name)


@pytest.mark.parametrize("record", [b"[]", b"null", b"{", b"\xff"])
def test_a_damaged_record_of_the_version_before_says_nothing(tmp_path: Path, record: bytes) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "verification.json").write_bytes(record)
    assert verification_record.made_from(tmp_path / "1") == ""
