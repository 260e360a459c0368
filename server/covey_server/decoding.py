"""The pool in which encoded images become pixels, off the threads that take calls and run batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from covey_server.errors import ImageTooLarge, InvalidImage, Stopping
from covey_server.images import InputSpec, decode_into, read_header


@dataclass(slots=True)
class Decoded:
    """The images of one request: `rows` holds those that could be read, one after the other;
    `failures` has an entry per image that was tried, None where it could."""

    rows: memoryview
    failures: list[InvalidImage | ImageTooLarge | None]

    @property
    def count(self) -> int:
        return self.failures.count(None)


class DecodePool:
    """Decodes whole requests, one thread each. What waits here was let in by admission, which bounds it."""

    def __init__(self, threads: int, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self._closed = False

    def submit(self, job: Callable[[], None]) -> None:
        """Runs a job on a thread of the pool; the job answers for its own errors."""
        self._executor.submit(job)

    def decode(
        self, images: Sequence[bytes], spec: InputSpec, check: Callable[[], None], all_or_none: bool = False
    ) -> Decoded:
        """Decodes on the calling thread. An image that cannot be read fails alone, or, with `all_or_none`, is the last
        that is tried. `check` is called before each image and may raise, which ends the work."""
        rows = memoryview(bytearray(len(images) * spec.nbytes))
        good = 0
        failures: list[InvalidImage | ImageTooLarge | None] = []
        for image in images:
            if self._closed:
                raise Stopping("the server has stopped")
            check()
            try:
                header = read_header(image, self._max_pixels)
                decode_into(rows[good * spec.nbytes : (good + 1) * spec.nbytes], header, spec)
                failures.append(None)
                good += 1
            except (InvalidImage, ImageTooLarge) as error:
                failures.append(type(error)(str(error)))  # the raised one's stack holds this very list
                if all_or_none:
                    break
        return Decoded(rows[: good * spec.nbytes], failures)

    def close(self) -> None:
        """Ends the threads after the image each is at; jobs that wait are dropped."""
        self._closed = True
        self._executor.shutdown(wait=False, cancel_futures=True)
