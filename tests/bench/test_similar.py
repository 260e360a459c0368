"""The benchmark of similar images, with tiny numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from bench import similar
from bench.similar import noisy, precision

from covey.similar import index


def test_precision_is_the_share_of_the_nearest_that_have_the_label() -> None:
    """On a line, where each class has a stretch of its own."""
    gallery = np.arange(100, dtype=np.float32)[:, None]
    labels = (np.arange(100) // 50).astype(np.int64)
    queries = np.array([[5], [95], [47]], np.float32)
    assert precision(gallery, labels, queries, np.array([0, 0, 0])) == pytest.approx([1.0, 0.0, 0.8])


def test_images_come_again_with_noise() -> None:
    images = np.full((100, 2, 2, 1), 100, np.uint8)
    repeated = np.concatenate(list(noisy(images, 250)))
    assert len(repeated) == 250
    assert (repeated[:100] == 100).all(), "the first time as they are"
    assert 4 < repeated[128:].std() < 12


def test_a_whole_run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "GRAPH_FROM", 500)
    numbers = ["--epochs", "1", "--queries", "50", "--images", "600", "--searches", "10", "--rounds", "2"]
    pairs = ["--on", "nothing:mlp", "--on", "sample:mlp", "--recipe", "tutorial"]
    files = ["--work", str(tmp_path), "--json", str(tmp_path / "rows.json")]
    assert similar.main([*pairs, *numbers, *files]) == 1
    rows = {row["figure"]: row for row in json.loads((tmp_path / "rows.json").read_text())}
    assert 0.3 < rows["precision at 10, embedding of mlp (256)"]["value"] <= 1
    assert 0.3 < rows["precision at 10, pixels"]["value"] <= 1
    assert rows["recall at 10 of the search"]["value"] > 0.9
    assert rows["size: vectors"]["value"] == pytest.approx(600 * 256 * 4 / 1e6)
    assert rows["size: graph"]["value"] > 0
    assert all(rows[name]["value"] > 0 for name in ("search", "search, exact", "remove 6", "add 6", "open"))
    captured = capsys.readouterr()
    assert "| sample | precision at 10, pixels |" in captured.out
    assert "bench: nothing:mlp: " in captured.err, "what can be measured is"
    assert not (tmp_path / "index").exists()
