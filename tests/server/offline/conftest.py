"""The model and the source that most tests of `covey batch` use."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import WriteModel
from tests.server.offline.helpers import COUNT, images, write_folder


@pytest.fixture
def model(tmp_path: Path, write_echo_model: WriteModel) -> Path:
    return write_echo_model(tmp_path / "models")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The images(COUNT)."""
    return write_folder(tmp_path / "images", images(COUNT))
