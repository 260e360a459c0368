"""A short stream soak against the real server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench import stream_soak
from tests.conftest import WriteModel


def test_it_draws_the_memory_of_both_sides_and_counts_every_way(
    tmp_path: Path, write_echo_model: WriteModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_soak, "SLOW_PER_SECOND", 50_000.0)
    write_echo_model(tmp_path / "models", "lenet", shape=(28, 28, 1))
    results = tmp_path / "results"
    arguments = ["--models", str(tmp_path / "models"), "--results", str(results)]
    # Whatever it returns: in so short a run memory may still grow.
    stream_soak.main([*arguments, "--images", "8000", "--quick-images", "1000", "--rounds", "1"])
    rows = {(row["scenario"], row["figure"]): row for row in json.loads((results / "stream.json").read_text())}
    assert rows["8,000 images through one call, read at 50,000/s", "wrong or missing answers"]["value"] == 0
    for side in ("server", "client"):
        assert rows["8,000 images through one call, read at 50,000/s", f"{side}: memory growth"]["target"] == 5
    for way in ("classify_stream", "classify_many", "classify, 256 images per call"):
        assert rows[f"{way}, lenet, quick reader", "wrong answers"]["value"] == 0
        rate = rows[f"{way}, lenet, quick reader", "throughput"]
        assert rate["value"] > 0
        assert rate["against"].startswith("onnxruntime alone at batch ")
    assert (results / "stream.png").read_bytes().startswith(b"\x89PNG")
