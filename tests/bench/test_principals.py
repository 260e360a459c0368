"""What a flooding principal may and gets, short."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import principals
from tests.conftest import WriteModel


def test_limits_hold_the_flooding_principal_only(tmp_path: Path, write_echo_model: WriteModel) -> None:
    """A call of the quiet one that is refused would end the measurement."""
    models = tmp_path / "models"
    write_echo_model(models, "echo")
    rows = dict(principals.measure(models, "echo", tmp_path, seconds=0.5, rounds=1, in_flight=8))
    assert rows["as much as it likes"].refused_share == 0
    assert rows["in_flight = 2"].refused_share > 0
    limited = rows["images_per_s = 200"]
    assert limited.refused_share > 0
    assert limited.flood_per_s < rows["as much as it likes"].flood_per_s
    for row in rows.values():
        assert row.ratio == row.beside_ms / row.alone_ms


def test_only_the_floods_generator_gives_way() -> None:
    def start() -> str:
        principals.give_way()
        return subprocess.check_output([sys.executable, "-c", "import os; print(os.nice(0))"], text=True).strip()

    before = os.nice(0)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(start).result() == "19"
    assert os.nice(0) == before
