"""One generator process: takes orders from standard input, puts the load on, writes what came of it to standard output.

    python -m covey_load.worker

Started by covey_load.processes, which alone talks to it. SIGTERM ends a load early: the calls in flight are still
waited for. Everything that costs time (histograms, percentiles, parsing of answers) is left to the starter, so that
sending is on time.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import math
import os
import pickle
import signal
import sys
import time
from array import array
from pathlib import Path
from typing import Any, BinaryIO

from covey_load import schedule
from covey_load.channel import FIELDS, Chunk, Connected, Ended, Order, Writer
from covey_load.loops import NEVER_NS, ClosedLoop, Loop, OpenLoop, Sink
from covey_load.pool import LoadError, Pool
from covey_load.wire.connection import Connection, Outcome
from covey_load.wire.http1 import HttpConnection, HttpRequest
from covey_load.wire.http2 import GrpcConnection

_CHUNK_EVERY_NS = 100_000_000
_CHUNK_RECORDS = 2_048


class Records:
    """A loop's sink: keeps calls until there are enough, or it is time, to hand them up."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._rows = array("q")
        self._answers: list[bytes] = []
        self._next_ns = 0

    def take(self, outcomes: list[Outcome]) -> None:
        rows = self._rows
        for number, due_ns, sent_ns, ended_ns, status, answer in outcomes:
            rows.extend((due_ns, sent_ns, ended_ns, status, number, len(answer)))
            if answer:
                self._answers.append(answer)

    def tick(self, now_ns: int) -> None:
        if now_ns >= self._next_ns or len(self._rows) >= _CHUNK_RECORDS * FIELDS:
            self.flush()

    def flush(self) -> None:
        """Hands up what there is."""
        now_ns = time.perf_counter_ns()
        self._next_ns = now_ns + _CHUNK_EVERY_NS
        self._writer.write(Chunk(self._rows.tobytes(), b"".join(self._answers), time.process_time_ns(), now_ns))
        self._rows = array("q")
        self._answers.clear()


class Worker:
    """Carries out orders, one at a time."""

    def __init__(self, orders: BinaryIO, writer: Writer) -> None:
        self._orders = orders
        self._writer = writer
        self._loop: Loop[Any] | None = None
        self._stopping = False

    def stop(self) -> None:
        """Ends the load that is on."""
        self._stopping = True
        if self._loop is not None:
            self._loop.stopping = True

    def run(self) -> None:
        """Until there are no more orders."""
        with contextlib.suppress(EOFError):
            while True:
                order: Order = pickle.load(self._orders)
                try:
                    self._writer.write(self._carry_out(order))
                except LoadError as error:
                    self._writer.write(Ended(str(error)))
                self._writer.drain()
                self._stopping = False

    def _carry_out(self, order: Order) -> Ended:
        records = Records(self._writer)
        lasts_s = order.warm_up_s + order.seconds
        name = f"{'HTTP' if _is_http(order) else 'gRPC'} connection to {order.endpoint.authority}"
        with contextlib.closing(Pool(name, lambda: _connect(order), order.connections)) as pool:
            self._loop = loop = _create_loop(order, pool, records)
            if self._stopping:
                loop.stopping = True
            self._writer.write(Connected())
            self._writer.drain()
            begin_ns: int = pickle.load(self._orders)
            time.sleep(max(0.0, (begin_ns - time.perf_counter_ns()) / 1e9))
            real_time = order.rates_per_s is not None and _raise_priority()
            records.flush()
            waited_ns = _waited_ns()
            end_ns = begin_ns + int(lasts_s * 1e9) if math.isfinite(lasts_s) else NEVER_NS
            if order.rates_per_s is None:  # no schedule to keep to: where others had the processors, it begins later
                end_ns += max(time.perf_counter_ns() - begin_ns, 0)
            try:
                loop.run(begin_ns, end_ns)
            finally:
                self._loop = None
                records.flush()
        return Ended(
            was_full=loop.was_full,
            unsent=loop.unsent,
            standstill_s=loop.standstill_ns / 1e9,
            waited_s=(_waited_ns() - waited_ns) / 1e9,
            real_time=real_time,
        )


def _create_loop(order: Order, pool: Pool[Any], sink: Sink) -> Loop[Any]:
    row = itertools.cycle([order.requests[number] for number in order.sequence or range(len(order.requests))])
    if order.rates_per_s is None:
        rows = [itertools.repeat(next(row)) if order.apart else row for _ in range(order.connections)]
        return ClosedLoop(pool, sink, order.timeout_s, order.in_flight, rows, order.calls)
    moments = schedule.moments(
        order.arrival, order.rates_per_s, order.warm_up_s, order.seconds, order.seed, order.part, order.parts
    )
    return OpenLoop(pool, sink, order.timeout_s, row, itertools.islice(moments, order.calls), order.round_us)


def _is_http(order: Order) -> bool:
    return isinstance(order.requests[0], HttpRequest)


def _connect(order: Order) -> Connection[Any]:
    if _is_http(order):
        return HttpConnection(order.endpoint, answers=order.keep_answers)
    return GrpcConnection(order.endpoint, answers=order.keep_answers)


def _raise_priority() -> bool:
    """Real callers are other machines: when they send does not depend on how busy the server is. False where the user
    may not."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except (AttributeError, OSError):
        return False
    return True


def _wake_on_time() -> None:
    """Linux wakes a process up to 50 us late, so that several wake together."""
    with contextlib.suppress(OSError):
        Path("/proc/self/timerslack_ns").write_text("1")


def _waited_ns() -> int:
    """How long this process, of one thread, could have run so far and did not, as others did (proc(5), schedstat)."""
    try:
        return int(Path("/proc/self/schedstat").read_text().split()[1])
    except OSError:
        return 0


def main() -> int:
    # Standard output is for chunks only: whatever else is printed goes to standard error.
    results = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    worker = Worker(sys.stdin.buffer, Writer(results))
    signal.signal(signal.SIGTERM, lambda *_: worker.stop())
    _wake_on_time()
    gc.disable()  # nothing here makes cycles, and its pauses would be lag
    worker.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
