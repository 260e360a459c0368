"""Runs in a container of the clients' image: asks servers by the SDK, from several threads, until SIGTERM; then prints
as JSON how many calls were answered and what the others met.

Arguments: target, threads, images in a call, their height and width, deadline in ms, retries.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections import Counter

import numpy as np

import covey


def main() -> None:
    target, (threads, images, side, deadline_ms, retries) = sys.argv[1], map(int, sys.argv[2:])
    ended, outcomes, under_way = threading.Event(), Counter[str](), threading.Semaphore(0)
    signal.signal(signal.SIGTERM, lambda number, frame: ended.set())
    pixels = np.random.default_rng(0).integers(0, 200, (images, side, side, 1), dtype=np.uint8)

    def ask() -> None:
        while not ended.is_set():
            try:
                answers = client.classify(pixels)
            except covey.CoveyError as error:
                outcomes[f"{type(error).__name__}: {error}"[:200]] += 1
                ended.wait(0.02)  # else a server that is gone is asked thousands of times
            else:
                outcomes["answered"] += len(answers) == images
            under_way.release()

    with covey.Client(target, deadline_ms=deadline_ms, retries=retries) as client:
        callers = [threading.Thread(target=ask) for _ in range(threads)]
        for caller in callers:
            caller.start()
        for _ in callers:
            under_way.acquire()
        print("asking", flush=True)
        for caller in callers:
            caller.join()
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main()
