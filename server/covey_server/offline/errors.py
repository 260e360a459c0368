"""The errors that keep a batch from beginning, or end it before its last image."""

from __future__ import annotations

from covey_server.errors import InvalidConfiguration, StartupError


class Stopped(StartupError):
    """The batch ended early; the same command goes on from there."""

    exit_code = 6


class BadSource(InvalidConfiguration):
    """The source cannot be used."""


def no_pyarrow(purpose: str) -> InvalidConfiguration:
    """The error where pyarrow is missing and `purpose` needs it."""
    return InvalidConfiguration(
        f"{purpose} needs the package pyarrow, which is not installed here: pip install 'covey-serve[batch]'"
    )


def no_ray() -> InvalidConfiguration:
    """The error where ray is missing."""
    return InvalidConfiguration(
        "--engine ray needs the package ray, which is not installed here: pip install 'covey-serve[cpu,ray]'"
    )
