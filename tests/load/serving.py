"""Two real gRPC servers that count what they get, for the load generators to be held against."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple

import grpc
from pygrpc_native import EVENT_CALL, NativeGrpcFront

METHOD = "/bench.Echo/Echo"
RESOURCE_EXHAUSTED = 8
STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}

# Called with a message and its number (from 0, by arrival); gives the answer, or the code to fail the call with.
Answer = Callable[[bytes, int], bytes | int]


class Arrivals:
    """What a server saw: every message, who sent it, and how many calls were open at once."""

    def __init__(self, answer: Answer) -> None:
        self.messages: list[bytes] = []
        self.peers: Counter[str] = Counter()
        self.deadlines_s: list[float | None] = []
        self.most_open = 0
        self._answer = answer
        self._open = 0
        self._lock = threading.Lock()

    def take(self, message: bytes, peer: str, deadline_s: float | None) -> bytes | int:
        with self._lock:
            number = len(self.messages)
            self.messages.append(message)
            self.peers[peer] += 1
            self.deadlines_s.append(deadline_s)
            self._open += 1
            self.most_open = max(self.most_open, self._open)
        answer = self._answer(message, number)
        with self._lock:
            self._open -= 1
        return answer


class Target(NamedTuple):
    port: int
    arrivals: Arrivals


Serve = Callable[[Answer], AbstractContextManager[Target]]


@contextmanager
def serve_natively(answer: Answer, max_concurrent_calls: int = 1024) -> Iterator[Target]:
    arrivals = Arrivals(answer)
    front = NativeGrpcFront(
        "127.0.0.1:0", [(METHOD, False)], call_details=True, max_concurrent_streams=max_concurrent_calls
    )

    def handle(call_id: int, payload: bytes, peer: str, deadline_s: float | None) -> None:
        result = arrivals.take(payload, peer, deadline_s)
        if isinstance(result, int):
            front.fail(call_id, result, "refused by the test")
        else:
            front.respond(call_id, result)

    def take() -> None:
        with ThreadPoolExecutor(16) as pool:
            while (events := front.recv_batch_details(64)) is not None:
                for kind, call_id, _, payload, _, details in events:
                    if kind == EVENT_CALL and payload is not None and details is not None:
                        pool.submit(handle, call_id, payload, details[1], details[2])

    front.start()
    thread = threading.Thread(target=take)
    thread.start()
    try:
        yield Target(front.bound_port, arrivals)
    finally:
        front.close()
        thread.join()


@contextmanager
def serve_with_grpcio(answer: Answer, max_concurrent_calls: int = 1024) -> Iterator[Target]:
    arrivals = Arrivals(answer)

    def handle(message: bytes, context: grpc.ServicerContext) -> bytes:
        result = arrivals.take(message, context.peer(), context.time_remaining())
        if isinstance(result, int):
            context.abort(STATUS_CODES[result], "refused by the test")
        return result

    options = [("grpc.max_concurrent_streams", max_concurrent_calls), ("grpc.so_reuseport", 0)]
    server = grpc.server(ThreadPoolExecutor(16), options=options)
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {"Echo": grpc.unary_unary_rpc_method_handler(handle)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield Target(port, arrivals)
    finally:
        server.stop(None).wait()
