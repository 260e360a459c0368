"""A real gRPC server that speaks covey.v1 and answers by a script: after how long, and with a standstill if wanted.

It waits in a thread of its own, on the native front, so that a hundred held calls cost next to nothing.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pygrpc_native import EVENT_CALL, NativeGrpcFront

from covey_proto.v1 import classifier_pb2 as pb

_METHODS = [("/covey.v1.Classifier/Classify", False), ("/covey.v1.Classifier/GetModel", False)]
_ANSWER = pb.ClassifyResponse(
    results=[pb.Result(classes=[pb.Class(label="0", probability=1.0)])],
    model="scripted",
    version=1,
    timing=pb.Timing(total_us=600, decode_us=100, queue_us=200, compute_us=300, batch_size=7, device="cpu"),
).SerializeToString()
_MODEL = pb.GetModelResponse(
    model=pb.Model(
        name="scripted",
        version=1,
        state=pb.Model.STATE_READY,
        info=pb.ModelInfo(input=pb.ImageSpec(height=4, width=4, channels=1)),
        serving=pb.Serving(device="cpu", provider="none", workers=1, max_batch_size=8),
    )
).SerializeToString()


class ScriptedServer:
    """Call `number` (from 0, by arrival; the one that a load test makes before its load is not counted) is answered
    `delay_s(number)` after it came, or fails where `code(number)` is not 0. From the arrival of call `stall_at` on,
    nothing is answered for `stall_s`.

    `took_ms` is how long each answered call really was in here: on a busy machine that is more than the script says.
    """

    def __init__(
        self,
        delay_s: Callable[[int], float],
        *,
        code: Callable[[int], int] = lambda number: 0,
        stall_at: int = -1,
        stall_s: float = 0.0,
        most_calls: int = 1024,
        on_call: Callable[[int], object] = lambda number: None,
    ) -> None:
        self.calls = 0
        self.took_ms: list[float] = []
        self._delay_s, self._code, self._on_call = delay_s, code, on_call
        self._stall_at, self._stall_s = stall_at, stall_s
        self._stalled_until = 0.0
        self._front = NativeGrpcFront("127.0.0.1:0", _METHODS, call_details=True, max_concurrent_streams=most_calls)
        self._held: list[tuple[float, int, int, float]] = []  # when, call id, code, arrival
        self._change = threading.Condition()
        self._open = True
        self._front.start()
        self._threads = [threading.Thread(target=work) for work in (self._take, self._answer)]
        for thread in self._threads:
            thread.start()

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self._front.bound_port}"

    def close(self) -> None:
        """Hangs up; calls that are held are lost. More than once does nothing."""
        with self._change:
            if not self._open:
                return
            self._open = False
            self._change.notify()
        self._front.close()
        for thread in self._threads:
            thread.join()

    def _take(self) -> None:
        seen = False
        while (events := self._front.recv_batch_details(64)) is not None:
            now = time.perf_counter()
            for kind, call_id, method, _, _, _ in events:
                if kind != EVENT_CALL:
                    continue
                if method == 1:  # the place among _METHODS
                    self._front.respond(call_id, _MODEL)
                elif not seen:
                    seen = True
                    self._front.respond(call_id, _ANSWER)
                else:
                    self._hold(call_id, now)

    def _hold(self, call_id: int, now: float) -> None:
        number = self.calls
        self.calls += 1
        if number == self._stall_at:
            self._stalled_until = now + self._stall_s
        self._on_call(number)
        with self._change:
            heapq.heappush(self._held, (now + self._delay_s(number), call_id, self._code(number), now))
            self._change.notify()

    def _answer(self) -> None:
        while due := self._wait():
            for call_id, code, arrived in due:
                self.took_ms.append((time.perf_counter() - arrived) * 1e3)
                if code:
                    self._front.fail(call_id, code, "as the script says")
                else:
                    self._front.respond(call_id, _ANSWER)

    def _wait(self) -> list[tuple[int, int, float]]:
        """Calls whose time has come, with their codes and arrivals; none once it is closed."""
        with self._change:
            while self._open:
                now = time.perf_counter()
                next_due = max(self._held[0][0], self._stalled_until) if self._held else now + 60
                if next_due > now:
                    self._change.wait(next_due - now)
                    continue
                due = []
                while self._held and self._held[0][0] <= now:
                    due.append(heapq.heappop(self._held)[1:])
                return due
        return []


@contextmanager
def scripted(delay_s: Callable[[int], float] | float = 0.0, **script: object) -> Iterator[ScriptedServer]:
    """A ScriptedServer; one delay for all calls may be given as a number."""
    delay = delay_s if callable(delay_s) else lambda number: delay_s
    server = ScriptedServer(delay, **script)  # type: ignore[arg-type]
    try:
        yield server
    finally:
        server.close()
