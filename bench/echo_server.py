"""Owns the floor of the native front: a server that answers every call with the same bytes, as a process.

    python -m bench.echo_server --method /package.Service/Method --answer-bytes N

It takes bursts and answers them through the same calls the server's native front is made of, on one
thread, so its CPU time per call is what any server on that front has to spend. Prints its port once it
listens; ends when its standard input is closed, so it never outlives whoever started it.
"""

import argparse
import sys
import threading
from collections.abc import Sequence

from pygrpc_native import EVENT_CALL, NativeGrpcFront

MAX_BURST_CALLS = 64
IO_THREADS = 1  # as the server's front; a second one only costs where two cores are shared


def answer_calls(front: NativeGrpcFront, answer: bytes) -> None:
    """Answers every call until the front is closed."""
    while (events := front.recv_batch_details(MAX_BURST_CALLS)) is not None:
        for kind, call_id, *_ in events:
            if kind == EVENT_CALL:
                front.respond(call_id, answer)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m bench.echo_server", description=__doc__.split("\n")[0])
    parser.add_argument("--method", required=True, help="/package.Service/Method, unary")
    parser.add_argument("--answer-bytes", required=True, type=int)
    options = parser.parse_args(arguments)
    front = NativeGrpcFront("127.0.0.1:0", [(options.method, False)], io_threads=IO_THREADS, call_details=True)
    front.start()

    def close_with_standard_input() -> None:
        sys.stdin.read()
        front.close()

    threading.Thread(target=close_with_standard_input, name="stdin", daemon=True).start()
    print(front.bound_port, flush=True)
    answer_calls(front, bytes(options.answer_bytes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
