"""What calls may hold is bounded by the memory that the process has, not by the setting alone."""

from __future__ import annotations

import logging

import pytest

from covey_server import resources
from covey_server.config import Config
from covey_server.system import memory_limit
from covey_server.system.memory_limit import Room


@pytest.mark.parametrize(
    ("free_mib", "max_mib", "kept_mib"), [(4096, 512, 512), (400, 512, 100), (400, 50, 50), (20, 512, 16)]
)
def test_a_quarter_of_what_is_left_is_the_limit(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, free_mib: int, max_mib: int, kept_mib: int
) -> None:
    monkeypatch.setattr(memory_limit, "room", lambda: Room(free_mib << 20, "the cgroup's limit of 512 MiB"))
    with caplog.at_level(logging.WARNING):
        found = resources.within_memory(Config(max_bytes=max_mib << 20))
    assert found.max_bytes == kept_mib << 20
    assert bool(caplog.records) == (kept_mib < max_mib)


def test_where_the_system_does_not_say_the_setting_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_limit, "room", lambda: None)
    assert resources.within_memory(Config(max_bytes=1 << 40)).max_bytes == 1 << 40
