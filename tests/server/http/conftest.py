"""HTTP is the same on both gRPC fronts: these tests run on one."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="package")
def front() -> str:
    """The gRPC front beside HTTP."""
    return "native"
