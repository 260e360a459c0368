"""Owns the load of the SDK's scenarios and of the stream soak: one client process, in one of several ways.

    python -m bench.sdk_load --target HOST:PORT --model NAME --images FILE --way WAY --in-flight N --seconds S

It prints an SdkLoad as JSON. FILE is a NumPy archive: `images [N, H, W, C] uint8`, and `top`, the class that each must
be answered with. A closed loop, as those of bench.load; but here it is the client that is measured. With `--count` it
sends so many images in place of seconds, all of them counted, and says on a line of its own how far it is.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import grpc.aio
import numpy as np
from numpy.typing import NDArray

import covey
from covey_proto.v1 import classifier_pb2 as pb

TIMEOUT_S = 10.0
WARM_UP = 200  # answers of each load in seconds that are not counted: connecting, first calls
_PACKED_IMAGES = 256  # of one call
_SAY_EVERY = 1_000  # answers

Image = NDArray[np.uint8]
Ask = Callable[[Image], Awaitable[int]]  # one image -> the index of its best class


@dataclass(frozen=True)
class SdkLoad:
    """What came of one load. `cpu_us` is the client process's CPU time per image. Latencies are 0 where answers are
    read in a row and have none of their own."""

    images: int
    wrong: int
    images_per_second: float
    cpu_us: float
    latency_p50_us: float


@dataclass(frozen=True)
class Task:
    """Whom to ask for what, and how long: `seconds`, or `count` images, of which at most `per_second` are read (0: no
    limit)."""

    target: str
    model: str
    images: NDArray[np.uint8]
    top: Sequence[int]
    in_flight: int
    seconds: float
    count: int | None = None
    per_second: float = 0.0
    top_k: int = 5


class Meter:
    """Counts answers, and the time and CPU time they took: of a load in seconds from the end of the warm-up on."""

    def __init__(self, task: Task) -> None:
        self.wrong = 0
        self._task = task
        self._latencies_ns: list[int] = []
        self._answers = 0
        self._warm_up = WARM_UP if task.count is None else 0
        self._end_s = float("inf")
        self._begin_s, self._cpu_s = time.perf_counter(), time.process_time()

    @property
    def over(self) -> bool:
        return time.perf_counter() >= self._end_s

    def take(self, *, right: bool, latency_ns: int = 0) -> None:
        """One answer has come."""
        self._answers += 1
        if self._answers == self._warm_up:
            self._begin_s, self._cpu_s = time.perf_counter(), time.process_time()
            self._end_s = self._begin_s + self._task.seconds
            self._latencies_ns.clear()
        self._latencies_ns.append(latency_ns)
        self.wrong += not right
        if self._task.count is not None and self._answers % _SAY_EVERY == 0:
            if self._task.per_second:
                ahead_s = self._answers / self._task.per_second - (time.perf_counter() - self._begin_s)
                time.sleep(max(0.0, ahead_s))
            print(json.dumps({"done": self._answers}), flush=True)

    def load(self) -> SdkLoad:
        """Of now."""
        counted = self._answers - self._warm_up
        seconds = time.perf_counter() - self._begin_s
        cpu_us = (time.process_time() - self._cpu_s) * 1e6 / counted
        p50_us = statistics.median(self._latencies_ns) / 1_000
        return SdkLoad(counted, self.wrong, counted / seconds, cpu_us, p50_us)


@asynccontextmanager
async def ask_by_stub(task: Task) -> AsyncIterator[Ask]:
    """The floor: gRPC's own asyncio API and the same messages, made, sent and read as by hand."""
    async with grpc.aio.insecure_channel(task.target) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[pb.ClassifyRequest, pb.ClassifyResponse] = channel.unary_unary(
            "/covey.v1.Classifier/Classify", pb.ClassifyRequest.SerializeToString, pb.ClassifyResponse.FromString
        )

        async def ask(image: Image) -> int:
            height, width, channels = image.shape
            pixels = pb.Pixels(data=image.tobytes(), height=height, width=width, channels=channels)
            response = await call(pb.ClassifyRequest(model=task.model, pixels=pixels), timeout=TIMEOUT_S)
            return response.results[0].classes[0].index

        yield ask


@asynccontextmanager
async def ask_by_client(task: Task, *, coalesce: bool = False) -> AsyncIterator[Ask]:
    """AsyncClient.classify, one image per call."""
    async with covey.AsyncClient(task.target, coalesce=coalesce) as client:

        async def ask(image: Image) -> int:
            answer: covey.Classification = await client.classify(image, model=task.model)
            return answer.index

        yield ask


async def measure_tasks(task: Task, asking: AbstractAsyncContextManager[Ask]) -> SdkLoad:
    """`in_flight` tasks, each of which asks again once it is answered."""
    meter = Meter(task)
    turns = itertools.cycle(zip(task.images, task.top, strict=True))
    async with asking as ask:

        async def caller() -> None:
            while not meter.over:
                image, top = next(turns)
                began_ns = time.perf_counter_ns()
                index = await ask(image)
                meter.take(right=index == top, latency_ns=time.perf_counter_ns() - began_ns)

        await asyncio.gather(*[caller() for _ in range(task.in_flight)])
        return meter.load()


async def measure_many_awaited(task: Task) -> SdkLoad:
    """AsyncClient.classify_many."""
    meter = Meter(task)
    async with covey.AsyncClient(task.target) as client:
        answers = client.classify_many(_images(task, meter), model=task.model, in_flight=task.in_flight)
        expected = itertools.cycle(task.top)
        async for answer in answers:
            meter.take(right=answer.index == next(expected))
        return meter.load()


def measure_many(task: Task) -> SdkLoad:
    """Client.classify_many."""
    with _connected(task) as client:
        meter = Meter(task)
        answers = client.classify_many(
            _images(task, meter), model=task.model, top_k=task.top_k, in_flight=task.in_flight
        )
        for answer, top in zip(answers, itertools.cycle(task.top), strict=False):
            meter.take(right=answer.index == top)
        return meter.load()


def measure_stream(task: Task) -> SdkLoad:
    """Client.classify_stream."""
    with _connected(task) as client:
        meter = Meter(task)
        images = zip(itertools.cycle(task.top), _images(task, meter), strict=False)
        for top, answer in client.classify_stream(images, model=task.model, top_k=task.top_k):
            meter.take(right=answer.index == top)
        return meter.load()


def measure_packed(task: Task) -> SdkLoad:
    """Client.classify of hundreds of images per call, one call after the other."""
    with _connected(task) as client:
        meter = Meter(task)
        numbers = np.fromiter(itertools.islice(itertools.cycle(range(len(task.images))), task.count), np.int64)
        for first in range(0, len(numbers), _PACKED_IMAGES):
            batch = numbers[first : first + _PACKED_IMAGES]
            answers = client.classify(task.images[batch], model=task.model, top_k=task.top_k)
            for number, answer in zip(batch, answers, strict=True):
                meter.take(right=answer.index == task.top[number])
        return meter.load()


def _connected(task: Task) -> covey.Client:
    """A client whose connection stands: to connect is not the load's time."""
    client = covey.Client(task.target)
    client.classify(task.images[0], model=task.model)
    return client


def _images(task: Task, meter: Meter) -> Iterator[Image]:
    endless = itertools.takewhile(lambda _: not meter.over, itertools.cycle(task.images))
    return itertools.islice(endless, task.count)


WAYS: dict[str, Callable[[Task], SdkLoad]] = {
    "stub": lambda task: asyncio.run(measure_tasks(task, ask_by_stub(task))),
    "plain": lambda task: asyncio.run(measure_tasks(task, ask_by_client(task))),
    "coalesced": lambda task: asyncio.run(measure_tasks(task, ask_by_client(task, coalesce=True))),
    "many": measure_many,
    "stream": measure_stream,
    "many-awaited": lambda task: asyncio.run(measure_many_awaited(task)),
    "packed": measure_packed,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Puts the load on and prints what came of it."""
    parser = argparse.ArgumentParser(prog="python -m bench.sdk_load", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--target", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--way", choices=WAYS, required=True)
    parser.add_argument("--in-flight", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--count", type=int, help="so many images instead; packed needs it")
    parser.add_argument("--per-second", type=float, default=0.0, help="answers read at the most; 0: no limit")
    parser.add_argument("--top-k", type=int, default=5, help="of the ways many, stream and packed")
    options = parser.parse_args(arguments)
    with np.load(options.images) as archive:
        images, top = archive["images"], archive["top"].tolist()
    task = Task(
        options.target,
        options.model,
        images,
        top,
        options.in_flight,
        options.seconds,
        options.count,
        options.per_second,
        options.top_k,
    )
    print(json.dumps(asdict(WAYS[options.way](task))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
