"""Waiting for something that another thread or process brings about, and that nothing tells."""

from __future__ import annotations

import time
from collections.abc import Callable

TIMEOUT_S = 120.0  # as long as a busy machine may need for some hundred calls
_PAUSE_S = 0.01  # reading a server's metrics takes a few milliseconds


def wait_until(is_so: Callable[[], object], timeout_s: float = TIMEOUT_S) -> None:
    """Asks again and again until the answer is true. Fails the test after `timeout_s`."""
    give_up = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(_PAUSE_S)
