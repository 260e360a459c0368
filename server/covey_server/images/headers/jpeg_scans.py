"""The scans of a JPEG: how many there are, where the last one's data end, and whether anything is missing.

libjpeg silently fills what is missing before an end marker with grey. So the decoder does not get that marker before it
has all pixels: see PADDING.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from covey_server.errors import InvalidImage
from covey_server.images.headers.header import MAX_SEGMENTS, damaged, too_many_segments

# Of one image; real ones have about ten. A scan costs a pass over all pixels and may be only ten bytes long, so a file
# of 64 MB could take hours. 64 scans over 50 million pixels take two seconds.
MAX_SCANS = 64
# Set bits, as many as the decoder reads ahead. No code is made of set bits alone: after complete data they change
# nothing; after incomplete data the decoder uses them up and asks for more.
PADDING = b"\xff\x00" * 8
MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # what ends a scan's data
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_SCAN, _END, _RESTART_INTERVAL = 0xDA, 0xD9, 0xDD


@dataclass(frozen=True, slots=True)
class Frame:
    """The content of the segment SOF: size, components and their sampling factors."""

    kind: int
    width: int
    height: int
    names: bytes  # a byte for each component
    factors: list[tuple[int, int]]  # of each component: its samples across and down, in one unit of all

    @property
    def samples_per_pixel(self) -> float:
        """The samples per pixel: 3 for 4:4:4, 1.5 for 4:2:0."""
        return sum(h * v for h, v in self.factors) / (self._widest * self._highest)

    @property
    def _widest(self) -> int:
        return max(h for h, _ in self.factors)

    @property
    def _highest(self) -> int:
        return max(v for _, v in self.factors)

    def units(self, names: bytes) -> int:
        """The number of units, in which restarts are counted, in a scan of these components."""
        across, down = 8 * self._widest, 8 * self._highest
        if len(names) != 1:
            return math.ceil(self.width / across) * math.ceil(self.height / down)
        h, v = self.factors[self.names.index(names)]
        return math.ceil(self.width * h / across) * math.ceil(self.height * v / down)


def length(data: bytes, position: int) -> int:
    """The length of the segment whose marker is at `position`, without the marker."""
    return max(2, data[position + 2] << 8 | data[position + 3])


def end_of_data(data: bytes, start: int) -> int:
    """The end of the scan's data that begin at `start`."""
    # Nearly always it is at the file's end; to read all of it would cost 0.5 us per KB. If a file holds several images,
    # the last bytes are the end of another one.
    if data.endswith(b"\xff\xd9") and b"MPF\0" not in data[:start]:
        return len(data) - 2
    match = MARKER.search(data, start)
    return match.start() if match else len(data)


def walk(data: bytes, position: int, frame: Frame, restart_interval: int, *, check_restarts: bool) -> tuple[int, int]:
    """Walks from the first scan, at `position`, to the image's end marker. Returns where the last scan's data end, and
    where that marker is. Raises InvalidImage."""
    scans, last_end = 0, 0
    names = all_names = b""
    start = 0
    for _ in range(MAX_SEGMENTS):
        marker = data[position + 1]
        if marker == _END:
            break
        end = position + 2 + length(data, position)
        if marker == _SCAN:
            scans += 1
            names = data[position + 5 : position + 5 + 2 * data[position + 4] : 2]
            all_names += names
        elif marker == _RESTART_INTERVAL:
            restart_interval = data[position + 4] << 8 | data[position + 5]
        match = MARKER.search(data, end)
        if match is None:
            raise damaged("JPEG", len(data), "it ends before its last scan does")
        if marker == _SCAN:
            start, last_end = end, match.start()
        position = match.end() - 2
    else:
        raise too_many_segments("JPEG", data)
    if scans > MAX_SCANS:
        raise InvalidImage(
            f"the JPEG image of {len(data):,} bytes has {scans:,} scans, at most {MAX_SCANS} are decoded here "
            f"(progressive images have about ten); save it again as a baseline JPEG",
            "too_many_parts",
        )
    missing = set(frame.names) - set(all_names)
    if missing:
        raise damaged("JPEG", len(data), f"{len(missing)} of its {len(frame.names)} colour components are not in it")
    if check_restarts and restart_interval and set(names) <= set(frame.names):
        expected = math.ceil(frame.units(names) / restart_interval) - 1
        if len(_RESTART.findall(data, start, last_end)) < expected:
            raise damaged("JPEG", len(data), "its last scan ends early")
    return last_end, position
