"""Reads many image files into one array, by the server's own code, on all cores, and notes what is unusual."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from covey_export.datasets.dataset import Images
from covey_export.errors import InvalidDataset
from covey_server.errors import CoveyServerError
from covey_server.images import image_formats
from covey_server.images.pixels import DEFAULT_MAX_PIXELS, InputSpec, decode, read_header
from covey_server.system.process_memory import resident_bytes

_GREY_MODES = ("1", "L", "LA", "La", "I", "F")  # and I;16 with its byte orders
_MEMORY_INFO = Path("/proc/meminfo")
_MEMORY_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")  # of cgroups, version 2 and version 1


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """The content of a list of files. `images` has a row for each file; those of files in `problems` mean nothing."""

    images: Images  # [N, H, W, C]
    problems: dict[int, str]  # by index: why the file is no image that can be read
    grey: int  # readable ones that are grey by themselves
    transparent: int  # readable ones with an alpha channel or a transparent colour


@dataclass(frozen=True)
class _FileResult:
    problem: str | None = None
    is_grey: bool = False
    is_transparent: bool = False


def read(files: Sequence[Path], spec: InputSpec) -> ImageFiles:
    """Reads all files. Raises InvalidDataset where the images do not fit into memory."""
    _require_memory(len(files), spec)
    formats = image_formats.available()
    images = np.zeros((len(files), *spec.shape), np.uint8)

    def read_one(index: int) -> _FileResult:
        try:
            data = files[index].read_bytes()
            images[index] = decode(data, spec, DEFAULT_MAX_PIXELS, formats)
        except (CoveyServerError, OSError) as error:
            return _FileResult(problem=(error.strerror if isinstance(error, OSError) else None) or str(error))
        # Opened from the data that the decoder gets, as Pillow cannot open every file that is decoded here. Decodes no
        # pixel.
        image = image_formats.open_image(read_header(data, DEFAULT_MAX_PIXELS, formats))
        return _FileResult(
            is_grey=image.mode in _GREY_MODES or image.mode.startswith("I;"),
            is_transparent=image.has_transparency_data,
        )

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(read_one, range(len(files))))
    return ImageFiles(
        images,
        {index: result.problem for index, result in enumerate(results) if result.problem is not None},
        sum(result.is_grey for result in results),
        sum(result.is_transparent for result in results),
    )


def _require_memory(count: int, spec: InputSpec) -> None:
    """Raises InvalidDataset where not even one copy of the pixels fits; training makes a second one."""
    needed, available = count * spec.nbytes, available_bytes()
    if available is not None and needed > available:
        raise InvalidDataset(
            f"{count:,} images of {spec.height}x{spec.width}x{spec.channels} take {needed / 1e9:,.1f} GB of memory, "
            f"{available / 1e9:,.1f} GB are available here; use fewer or smaller images, or a larger machine"
        )


def available_bytes(cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Memory that is available without swapping, of the machine and in the cgroup of this process. None where the
    system does not say."""
    limits = (_of_machine(), _of_cgroup(cgroup))
    return min((count for count in limits if count is not None), default=None)


def _of_machine() -> int | None:
    try:
        for line in _MEMORY_INFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):  # not Linux; a name that this system does not know
        return None


def _of_cgroup(cgroup: Path) -> int | None:
    for file in _MEMORY_LIMITS:
        with suppress(OSError, ValueError):  # not there; "max", where there is no limit
            return max(0, int((cgroup / file).read_text()) - resident_bytes())
    return None
