"""Freed memory goes back to the system. In processes of their own: the setting is the process's."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# Large blocks and small ones in turn; the large ones are freed, the small ones stay and would hold the heap's end up.
GROWTH = """
import sys
import numpy as np
from covey_server.system.memory import bound_freed_memory

def resident_mb():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20

print(bound_freed_memory() if sys.argv[1] == "bound" else None)
np.ones(20 * 2**20, np.uint8)
before = resident_mb()
kept = [(np.ones(6 * 2**20, np.uint8), np.ones(50_000, np.uint8)) for _ in range(20)]
kept = [small for _, small in kept]
print(resident_mb() - before)
"""


def run(how: str, **environment: str) -> tuple[str, float]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", GROWTH, how]
    done = subprocess.run(command, env=clean | environment, capture_output=True, text=True, check=True, timeout=60)
    said, growth_mb = done.stdout.split()
    return said, float(growth_mb)


@pytest.mark.skipif(not hasattr(os, "confstr") or "CS_GNU_LIBC_VERSION" not in os.confstr_names, reason="needs glibc")
def test_freed_blocks_go_back() -> None:
    assert run("unbound")[1] > 50, "glibc keeps nothing any more: is the setting still needed?"
    said, growth_mb = run("bound")
    assert said == "True"
    assert growth_mb < 10


def test_what_the_user_has_set_stays() -> None:
    assert run("bound", MALLOC_TRIM_THRESHOLD_="100000000")[0] == "False"
