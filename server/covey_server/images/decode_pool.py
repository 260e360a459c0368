"""The threads that decode images, so that the threads that take calls and run batches do not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from covey_proto import image_formats
from covey_proto.image_formats import Format
from covey_server.errors import ImageTooLarge, InvalidImage, Stopping
from covey_server.images.decode_budget import DecodeBudget
from covey_server.images.pixels import InputSpec, decode_into, needed_bytes, read_header
from covey_server.system.threads import start_all

_SHORT_IMAGES = 16  # of a request, at up to a few milliseconds each
_SHORT_PIXELS = 2_000_000  # of an image: a JPEG of these takes about 5 ms


@dataclass(slots=True)
class Decoded:
    """The images of one request. `rows` holds those that could be read, one after another; `failures` has an entry for
    each image that was tried, None if it could be read."""

    rows: memoryview
    failures: list[InvalidImage | ImageTooLarge | None]

    @property
    def count(self) -> int:
        return self.failures.count(None)


class TooLong(Exception):
    """The request takes too long for the thread it is on, which is for short ones: `submit` it again as `long`."""


class DecodePool:
    """Decodes whole requests, each on one thread. Admission limits what waits here.

    Half of the threads take only requests of few small images, which so need not wait behind one that takes a second
    or waits for memory.
    """

    def __init__(
        self, threads: int, max_pixels: int, max_bytes: int, formats: Collection[Format] = image_formats.DEFAULT
    ) -> None:
        """`threads` in each half; `max_bytes` of memory for all of them together. Raises RuntimeError if no more
        threads can be started."""
        self.budget = DecodeBudget(max_bytes, 2 * threads)
        self._max_pixels = max_pixels
        self._formats = formats
        self._of_thread = threading.local()
        self._short = ThreadPoolExecutor(threads, "decode", partial(setattr, self._of_thread, "is_for_short", True))
        self._long = ThreadPoolExecutor(threads, "decode-long")
        for pool in (self._short, self._long):
            start_all(pool, threads)
        self._closed = False

    def submit(self, job: Callable[[], None], *, images: int, long: bool = False) -> None:
        """Runs a job on a thread of the pool. The job handles its own errors, TooLong among them. Raises Stopping."""
        self._require_open()
        (self._long if long or images > _SHORT_IMAGES else self._short).submit(job)

    def decode(
        self, images: Sequence[bytes], spec: InputSpec, check: Callable[[], None], all_or_none: bool = False
    ) -> Decoded:
        """Decodes on the calling thread. An image that cannot be read fails alone or, with `all_or_none`, ends the
        work. `check` is called before each image and while one waits for memory; if it raises, the work ends. Raises
        TooLong."""
        rows = memoryview(bytearray(len(images) * spec.nbytes))
        good = 0
        failures: list[InvalidImage | ImageTooLarge | None] = []
        for image in images:
            self._require_open()
            check()
            try:
                self._decode(rows[good * spec.nbytes : (good + 1) * spec.nbytes], image, spec, check)
                failures.append(None)
                good += 1
            except (InvalidImage, ImageTooLarge) as error:
                failures.append(type(error)(str(error)))  # a copy: the raised error's stack holds this very list
                if all_or_none:
                    break
        return Decoded(rows[: good * spec.nbytes], failures)

    def _decode(self, place: memoryview, image: bytes, spec: InputSpec, check: Callable[[], None]) -> None:
        header = read_header(image, self._max_pixels, self._formats)
        needed = needed_bytes(header, spec)
        is_small = needed <= self.budget.small_bytes
        if is_small and header.pixels <= _SHORT_PIXELS:
            decode_into(place, header, spec)
            return
        if not is_small:
            what = f"the {header.format} image of {header.width} x {header.height} pixels"
            self.budget.require_fits(needed, what)
        if getattr(self._of_thread, "is_for_short", False):
            raise TooLong
        if is_small:
            decode_into(place, header, spec)
            return

        def still_wanted() -> None:
            self._require_open()
            check()

        with self.budget.reserve(needed, still_wanted):
            decode_into(place, header, spec)

    def _require_open(self) -> None:
        if self._closed:
            raise Stopping("the server has stopped")

    def close(self) -> None:
        """Ends each thread after its current image; waiting jobs are dropped."""
        self._closed = True
        for threads in (self._short, self._long):
            threads.shutdown(wait=False, cancel_futures=True)
