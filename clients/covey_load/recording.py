"""Records every call of a load: for programs that send their own messages, or need more than a report tells.

What they need is imported from here (docs/load-testing.md). Nothing is counted or parsed before the load has ended, so
a recording costs the generator less than a report does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from covey_load.channel import FIELDS, Chunk, Ended, Order
from covey_load.pool import LoadError
from covey_load.processes import Generators
from covey_load.remote import Remote
from covey_load.wire.grpc_status import NAMES, OK

__all__ = ["Generators", "LoadError", "Order", "Recording", "Remote", "record"]

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Recording:
    """All calls of a load, one entry per call in each array, in the order of their ends (by process).

    A call was due, sent and ended at moments of time.perf_counter_ns. `statuses` are gRPC codes, 0 where it was
    answered, or HTTP ones; `numbers` are those of the requests. `answers` holds (number, answer) of the answered calls
    where answers are kept: the gRPC message behind its prefix of five bytes, or the HTTP body. `cpu_s` is what the
    generator processes used in the `seconds` from their begin to the last answer, `begin_ns` when they were to begin,
    `ends` what they say of themselves.
    """

    begin_ns: int
    seconds: float
    cpu_s: float
    due_ns: Integers
    sent_ns: Integers
    ended_ns: Integers
    statuses: Integers
    numbers: Integers
    answers: list[tuple[int, bytes]]
    ends: list[Ended]

    @property
    def calls(self) -> int:
        return len(self.statuses)

    @property
    def failures(self) -> int:
        return int(np.count_nonzero(self.statuses != OK))

    @property
    def calls_per_s(self) -> float:
        return self.calls / self.seconds

    @property
    def cpu_us_per_call(self) -> float:
        """The load generator's CPU time per call."""
        return self.cpu_s * 1e6 / max(self.calls, 1)

    @property
    def response_ms(self) -> NDArray[np.float64]:
        """The response times of the answered calls, from the moment at which each was meant to be sent."""
        return np.asarray((self.ended_ns - self.due_ns)[self.statuses == OK] / 1e6)

    @property
    def service_ms(self) -> NDArray[np.float64]:
        """The service times of the answered calls, from the moment at which each was really sent."""
        return np.asarray((self.ended_ns - self.sent_ns)[self.statuses == OK] / 1e6)

    @property
    def lag_ms(self) -> NDArray[np.float64]:
        """How late each call was sent."""
        return (self.sent_ns - self.due_ns) / 1e6

    def by_status(self) -> Counter[str]:
        """The number of calls by status, "OK" among them; "none" are calls that were lost without a status."""
        codes, counts = np.unique(self.statuses, return_counts=True)
        return Counter(dict(zip(map(_name, codes.tolist()), counts.tolist(), strict=True)))


def record(
    generators: Generators, orders: Sequence[Order], begin: Callable[[int], object] = lambda begin_ns: None
) -> Recording:
    """Puts a load on, one order for each of the processes, and waits for its end, which `generators.stop` brings
    sooner. `begin` is told the moment of the first call.

    Raises LoadError where the load could not be put on the server, or not to its end.
    """
    chunks: list[list[Chunk]] = [[] for _ in orders]
    begun_ns = 0

    def note(begin_ns: int) -> None:
        nonlocal begun_ns
        begun_ns = begin_ns
        begin(begin_ns)

    ends = generators.run(orders, note, lambda place, chunk: chunks[place].append(chunk), lambda: None)
    if failure := next((end.failure for end in ends if end.failure), ""):
        raise LoadError(failure)
    rows = np.frombuffer(b"".join(chunk.records for part in chunks for chunk in part), np.int64).reshape(-1, FIELDS)
    due_ns, sent_ns, ended_ns, statuses, numbers, answer_bytes = rows.T
    return Recording(
        begin_ns=begun_ns,
        seconds=(max(part[-1].at_ns for part in chunks) - min(part[0].at_ns for part in chunks)) / 1e9,
        cpu_s=sum(part[-1].cpu_ns - part[0].cpu_ns for part in chunks) / 1e9,
        due_ns=due_ns,
        sent_ns=sent_ns,
        ended_ns=ended_ns,
        statuses=statuses,
        numbers=numbers,
        answers=_answers(chunks, numbers, answer_bytes),
        ends=ends,
    )


def _name(status: int) -> str:
    return NAMES.get(status, f"HTTP {status}")


def _answers(chunks: list[list[Chunk]], numbers: Integers, answer_bytes: Integers) -> list[tuple[int, bytes]]:
    octets = b"".join(chunk.answers for part in chunks for chunk in part)
    has_answer = answer_bytes > 0
    bounds = pairwise(accumulate(answer_bytes[has_answer].tolist(), initial=0))
    return [
        (number, octets[start:end]) for number, (start, end) in zip(numbers[has_answer].tolist(), bounds, strict=True)
    ]
