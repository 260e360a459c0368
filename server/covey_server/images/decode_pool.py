"""The threads that decode images, so that those that take calls and run batches need not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias, TypeVar

from covey_proto import image_formats
from covey_proto.image_formats import Format
from covey_server.calls.turns import Turns
from covey_server.errors import ImageTooLarge, InvalidImage, Stopping
from covey_server.images.decode_budget import DecodeBudget
from covey_server.images.decoder import Decoder
from covey_server.images.pixels import InputSpec
from covey_server.system.threads import STEP_NS, pause, start_all

_SHORT_IMAGES = 16  # of a request, at up to a few milliseconds each
_SHORT_PIXELS = 2_000_000  # of an image: a JPEG of these takes about 5 ms


T = TypeVar("T")
Steps: TypeAlias = Generator[bool, None, T]
"""Work on one thread after another: it yields where other callers may have a turn, and True where it must go on as long
work, apart from requests of few small images."""


@dataclass(slots=True)
class Decoded:
    """The images of one request. `rows` holds those that could be read, one after another; `failures` has an entry for
    each image that was tried, None if it could be read; `pixels` is how many each of the others had in its file."""

    rows: memoryview
    failures: list[InvalidImage | ImageTooLarge | None]
    pixels: list[int]

    @property
    def count(self) -> int:
        return len(self.pixels)


class DecodePool:
    """Decodes whole requests, each on one thread at a time. Admission limits how many wait here.

    Half of the threads take only requests of few small images, which so need not wait behind one that takes a second
    or waits for memory. In each half the callers take turns, of a step of STEP_NS or an image, whichever is longer: a
    request of thousands of images delays another one by the step that it is at.
    """

    def __init__(
        self, threads: int, max_pixels: int, max_bytes: int, formats: Collection[Format] = image_formats.DEFAULT
    ) -> None:
        """`threads` in each half; `max_bytes` of memory for all of them together. Raises RuntimeError if no more
        threads can be started."""
        self.budget = DecodeBudget(max_bytes, 2 * threads)
        self._decoder = Decoder(max_pixels, self.budget, formats)
        self._of_thread = threading.local()
        self._short = _Half(threads, "decode", partial(setattr, self._of_thread, "is_for_short", True))
        self._long = _Half(threads, "decode-long")
        self._closed = False

    def submit(self, steps: Steps[None], caller: str, *, images: int) -> None:
        """Takes the steps on threads of the pool, in the caller's turns. Steps handle their own errors. Raises
        Stopping."""
        self._require_open()
        self._submit(self._long if images > _SHORT_IMAGES else self._short, caller, steps)

    def decode(
        self, images: Sequence[bytes], spec: InputSpec, check: Callable[[], None], all_or_none: bool = False
    ) -> Steps[Decoded]:
        """Decodes the images of a request. An image that cannot be read fails alone or, with `all_or_none`, ends the
        work. `check` is called before each image and while one waits for memory; an exception of it ends the work."""
        rows = memoryview(bytearray(len(images) * spec.nbytes))
        decoded = 0
        pixels: list[int] = []
        failures: list[InvalidImage | ImageTooLarge | None] = []
        began_ns = time.monotonic_ns()

        def still_wanted() -> None:
            self._require_open()
            check()

        for image in images:
            if time.monotonic_ns() - began_ns > STEP_NS:
                yield False
                began_ns = time.monotonic_ns()
            still_wanted()
            try:
                header, needed_bytes = self._decoder.look(image, spec)
                is_short = needed_bytes <= self.budget.small_bytes and header.pixels <= _SHORT_PIXELS
                if not is_short and getattr(self._of_thread, "is_for_short", False):
                    yield True
                place = rows[decoded * spec.nbytes : (decoded + 1) * spec.nbytes]
                self._decoder.decode(place, header, spec, needed_bytes, still_wanted)
                failures.append(None)
                pixels.append(header.pixels)
                decoded += 1
            except (InvalidImage, ImageTooLarge) as error:
                failures.append(error.copy())  # the raised error's stack holds this very list
                if all_or_none:
                    break
        return Decoded(rows[: decoded * spec.nbytes], failures, pixels)

    def _submit(self, half: _Half, caller: str, steps: Steps[None]) -> None:
        half.turns.put(caller, steps)
        half.threads.submit(self._work, half.turns)

    def _work(self, turns: Turns[Steps[None]]) -> None:
        """Runs steps on a thread of the pool, once for each submitted request."""
        caller, steps = turns.take()
        while True:
            try:
                is_long = next(steps)
            except StopIteration:
                return
            if is_long and not self._closed:
                self._submit(self._long, caller, steps)
                return
            pause()
            caller, steps = turns.swap(caller, steps)

    def _require_open(self) -> None:
        if self._closed:
            raise Stopping("the server has stopped")

    def close(self) -> None:
        """Ends each thread after its current image; waiting jobs are dropped."""
        self._closed = True
        for half in (self._short, self._long):
            half.threads.shutdown(wait=False, cancel_futures=True)


class _Half:
    """Some threads of the pool, and the requests that wait for them."""

    def __init__(self, threads: int, name: str, at_start: Callable[[], None] = lambda: None) -> None:
        self.turns = Turns[Steps[None]]()
        self.threads = ThreadPoolExecutor(threads, name, at_start)
        start_all(self.threads, threads)
