"""Why a batch cannot begin, or ends before its last image."""

from __future__ import annotations

from covey_server.errors import InvalidConfiguration, StartupError


class Stopped(StartupError):
    """It ended early, and the same command goes on from there."""

    exit_code = 6


class BadSource(InvalidConfiguration):
    """The source is not what it should be."""


def no_pyarrow(purpose: str) -> InvalidConfiguration:
    """The error where pyarrow is missing and `what` needs it."""
    return InvalidConfiguration(
        f"{purpose} needs the package pyarrow, which is not installed here: pip install 'covey-serve[batch]'"
    )
