"""What callers notice while models are fetched from a store, short."""

from __future__ import annotations

import math
from pathlib import Path

from bench import store_sync
from tests.conftest import WriteModel


def test_each_round_fetches_a_version_and_no_call_fails(tmp_path: Path, write_echo_model: WriteModel) -> None:
    model = write_echo_model(tmp_path / "models", "echo")
    rounds, load = store_sync.measure(model, tmp_path, rate=50, seconds=0.5, rounds=2, file_bytes=1 << 20)
    assert len(rounds) == 2
    assert all(math.isfinite(each.syncing_ms) and each.syncing_ms > 0 for each in rounds)
    assert (load.calls.failures, load.calls.calls > 0) == (0, True)
