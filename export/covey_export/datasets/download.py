"""Downloads a data set with torchvision, which compares checksums: completely or not at all, with a timeout."""

from __future__ import annotations

import http.client
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from covey_export.errors import MissingDataset

_TIMEOUT_S = 10.0  # for a connection to be made, and between two pieces of an answer


def download(torchvision_name: str, cache: Path) -> None:
    """Downloads torchvision's data set of that name into `cache`, in torchvision's layout.

    Raises MissingDataset with the reason where that fails, for instance without internet access.
    """
    import torchvision  # here: it costs more than a second, and few trainings need it

    dataset_class = getattr(torchvision.datasets, torchvision_name)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        # An interrupted download must not be found as a data set later: it is moved in place when whole.
        with tempfile.TemporaryDirectory(dir=cache, prefix=".download-") as temporary, _socket_timeout(_TIMEOUT_S):
            dataset_class(temporary, download=True)
            for folder in Path(temporary).iterdir():
                if folder.is_dir():
                    folder.rename(cache / folder.name)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        raise MissingDataset(_last_line(error)) from error


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(previous)


def _last_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1].strip()
