"""Every network of Covey is trained for a moment, converted and verified by the command: `make test-recipes`. Of them
tests/end_to_end/test_main_job.py converts four whenever tests run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covey_export.__main__ import main
from covey_export.networks import NETWORKS


@pytest.mark.recipes
@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_converted_and_verified(name: str, tmp_path: Path) -> None:
    side, _, channels = NETWORKS[name].image_shape
    arguments = ["all", name, "--models", str(tmp_path / "models"), "--checkpoints", str(tmp_path / "checkpoints")]
    if name != "conv-demo":  # it has images of its own, and learns nothing
        _write_images(tmp_path / "images", side)
        arguments += ["--dataset", f"folder:{tmp_path / 'images'}", "--epochs", "1", "--precision", "float32"]
        arguments += ["--grey"] * (channels == 1)
    assert main([*arguments, "--no-report"]) == 0
    verification = json.loads((tmp_path / "models" / name / "1" / "verification.json").read_text())
    assert verification["torch_accuracy"] == verification["onnxruntime_accuracy"]


def _write_images(folder: Path, side: int) -> None:
    """Noise around three brightnesses, which grey images have too."""
    noise = np.random.default_rng(3)
    for part in ("train", "test"):
        for place, label in enumerate(("dark", "medium", "bright")):
            (folder / part / label).mkdir(parents=True)
            for number in range(10):
                pixels = noise.integers(70 * place, 70 * place + 100, (side, side, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / label / f"{number}.png")
