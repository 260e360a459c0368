"""Wheel and sdist: the same bytes from the same commit, small, and with all that belongs in them."""

from __future__ import annotations

import hashlib
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.release.building import build

import covey

pytestmark = pytest.mark.release

# Neither is code: the images that `--dataset sample` trains on, and the model that `covey serve` starts with.
SAMPLES = ("covey_export/datasets/sample.npz", "covey_server/sample/model.onnx")
MAX_CODE_BYTES = 1_400_000


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    return build(tmp_path_factory.mktemp("first"))


def test_the_same_bytes_twice(built: Mapping[str, Path], tmp_path: Path) -> None:
    """Whatever the folder, the clock, the time zone and the user's file mode."""
    again = build(tmp_path / "elsewhere", mask=0o077, zone="Asia/Tokyo")
    assert built.keys() == again.keys() == {".whl", ".tar.gz"}
    for kind, path in built.items():
        assert path.name == again[kind].name
        assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(again[kind].read_bytes()).digest(), kind


def test_the_wheel_has_what_belongs_in_it(built: Mapping[str, Path]) -> None:
    with zipfile.ZipFile(built[".whl"]) as wheel:
        files = {each.filename: each.compress_size for each in wheel.infolist()}
    packages = {"covey", "covey_export", "covey_load", "covey_proto", "covey_reports", "covey_server"}
    information = f"covey_serve-{covey.__version__}.dist-info"
    assert {name.partition("/")[0] for name in files} == packages | {information}
    assert {f"{information}/licenses/LICENSE", "covey_server/page/app/index.html", "covey/py.typed", *SAMPLES} <= set(
        files
    )
    assert {f"{package}/py.typed" for package in packages - {"covey_load"}} <= files.keys()
    assert sum(size for name, size in files.items() if name not in SAMPLES) < MAX_CODE_BYTES


def test_the_sdist_has_the_tests_and_nothing_that_was_made(built: Mapping[str, Path]) -> None:
    with tarfile.open(built[".tar.gz"]) as sdist:
        files = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"pyproject.toml", "tests/release/test_distributions.py", "docs/README.md", "Makefile"} <= files
    assert not [name for name in files if name.startswith((".coverage", "build/", "dist/")) or "__pycache__" in name]
