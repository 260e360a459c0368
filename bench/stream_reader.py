"""The client of bench.stream_soak, in a process of its own: images of a golden set through one call, at a given pace.

Prints a line of JSON as it goes: answers so far, wrong ones among them, its CPU time; the last line counts all.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import covey

WAYS = ("stream", "many", "packed")
_PACKED_IMAGES = 256  # of one call
_LOOK_EVERY = 1_000  # answers


def answers(client: covey.Client, way: str, model: str, images: Any, count: int) -> Iterator[tuple[int, int]]:  # noqa: ANN401 - [N, H, W, C] uint8
    """The number of each image and the class that was answered for it."""
    cycled = (images[number % len(images)] for number in range(count))
    if way == "stream":
        for number, found in client.classify_stream(enumerate(cycled), model=model, top_k=1):
            yield number, found.index
    elif way == "many":
        for number, found in enumerate(client.classify_many(cycled, model=model, top_k=1, in_flight=1_024)):
            yield number, found.index
    else:
        for first in range(0, count, _PACKED_IMAGES):
            numbers = np.arange(first, min(first + _PACKED_IMAGES, count))
            found = client.classify(images[numbers % len(images)], model=model, top_k=1)
            yield from zip(numbers.tolist(), [one.index for one in found], strict=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.stream_reader", description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--way", choices=WAYS, default="stream")
    parser.add_argument("--model", required=True)
    parser.add_argument("--images", type=Path, required=True, help="an .npz of pixels and the classes to be answered")
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--per-second", type=float, default=0.0, help="answers read at the most; 0: no limit")
    options = parser.parse_args()
    given = np.load(options.images)
    pixels, top = given["pixels"], given["top"].tolist()
    done = wrong = 0

    def report() -> None:
        line = {"done": done, "wrong": wrong, "cpu_s": time.process_time(), "seconds": time.perf_counter() - began}
        print(json.dumps(line), flush=True)

    with covey.Client(options.target) as client:
        client.classify(pixels[0], model=options.model)  # the connection is not the stream's time
        began = time.perf_counter()
        for number, index in answers(client, options.way, options.model, pixels, options.count):
            done += 1
            wrong += index != top[number % len(top)]
            if done % _LOOK_EVERY == 0:
                if options.per_second:
                    time.sleep(max(0.0, done / options.per_second - (time.perf_counter() - began)))
                report()
        report()
    sys.stdout.flush()


if __name__ == "__main__":
    main()
