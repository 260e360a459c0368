"""The generator processes: starts them, gives them orders, passes their messages on, stops them."""

from __future__ import annotations

import contextlib
import pickle
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from covey_load.channel import Chunk, Connected, Ended, Order, Reader

_HEAD_START_NS = 50_000_000  # from the last connection to the first call, for the message to reach every process
_TICK_S = 0.1
_STOP_TIMEOUT_S = 5.0


class Generators:
    """Generator processes, for several loads one after the other. The terminal's Ctrl-C does not reach them, `stop`
    does.

    Leaving the `with` block ends them.
    """

    def __init__(self, count: int) -> None:
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "covey_load.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
            for _ in range(count)
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in self._processes:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            if error is not None:
                process.kill()
        for process in self._processes:
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdout is not None
            process.stdout.close()

    def run(
        self,
        orders: Sequence[Order],
        begin: Callable[[int], object],
        take: Callable[[int, Chunk], object],
        tick: Callable[[], object],
    ) -> list[Ended]:
        """Puts the load on: one order for each process, all beginning at the same moment (of time.perf_counter_ns),
        which `begin` is told. `take` gets each process's chunks, `tick` is called ten times a second.

        Once one fails, the others are stopped. Answers how each ended, in the order in which they did.
        """
        ends: dict[int, Ended] = {}
        connected: set[int] = set()
        with selectors.DefaultSelector() as selector:
            for place, (process, order) in enumerate(zip(self._processes, orders, strict=True)):
                assert process.stdout is not None
                self._send(place, order)
                selector.register(process.stdout, selectors.EVENT_READ, (place, Reader(process.stdout)))
            while len(ends) < len(self._processes):
                for key, _ in selector.select(_TICK_S):
                    place, reader = key.data
                    for message in self._read(place, reader):
                        if isinstance(message, Chunk):
                            take(place, message)
                            continue
                        if isinstance(message, Connected):
                            connected.add(place)
                        else:
                            ends[place] = message
                            selector.unregister(key.fileobj)
                            if message.failure:
                                self.stop()
                        if connected and len(connected | ends.keys()) == len(self._processes):
                            self._begin(connected, begin)
                            connected.clear()
                tick()
        return list(ends.values())

    def stop(self) -> None:
        """Sends no more calls; those in flight are still waited for."""
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)

    def _begin(self, places: set[int], begin: Callable[[int], object]) -> None:
        begin_ns = time.perf_counter_ns() + _HEAD_START_NS
        begin(begin_ns)
        for place in places:
            self._send(place, begin_ns)

    def _send(self, place: int, message: Order | int) -> None:
        pipe = self._processes[place].stdin
        assert pipe is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended: reading from it will say so
            pickle.dump(message, pipe, pickle.HIGHEST_PROTOCOL)
            pipe.flush()

    def _read(self, place: int, reader: Reader) -> list[Connected | Chunk | Ended]:
        try:
            return list(reader.read())
        except EOFError:
            return [Ended(f"a generator process ended, with exit code {self._processes[place].wait()}; this is a bug")]
