"""One point of the simulation against real connections: the SDK's clients before servers whose model sleeps.

    python -m bench.scale_check [--servers N] [--load SHARE] [--seconds S]

The simulation's times are stretched (`--stretch`), so that two cores can play all servers and clients; its results are
then stretched as much. Real are the SDK, its choice among servers, gRPC and the network of this machine; what a batch
takes is slept, not computed. Each server computes one batch at a time, of all that waits, as in `bench.scale`.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection

import grpc
import numpy as np
from numpy.typing import NDArray

import covey
from bench.scale import MAX_BATCH, POLICIES, Farm, Random, simulate
from covey_proto.v1 import classifier_pb2 as pb
from covey_proto.v1 import classifier_pb2_grpc

DEADLINE_MS = 60_000.0
_PIXELS = np.zeros((1, 1, 1), np.uint8)
_ANSWER = pb.ClassifyResponse(model="sleeping", version=1)
_ANSWER.results.add().classes.add(label="asleep", probability=1.0)


class Sleeping(classifier_pb2_grpc.ClassifierServicer):  # grpcio has no types
    """A server whose batch of n images takes `batch_s(n)`."""

    def __init__(self, batch_s: Callable[[int], float], deadline_s: float) -> None:
        self._batch_s = batch_s
        self._deadline_s = deadline_s
        self._waiting: list[asyncio.Future[None]] = []
        self._running = 0

    async def Classify(  # noqa: N802 - gRPC's name
        self, _: pb.ClassifyRequest, context: grpc.aio.ServicerContext[pb.ClassifyRequest, pb.ClassifyResponse]
    ) -> pb.ClassifyResponse:
        """Answers once its batch has run; refuses what would be answered after the deadline."""
        batches = -(-(len(self._waiting) + self._running + 1) // MAX_BATCH)
        if batches * self._batch_s(MAX_BATCH) > self._deadline_s:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is too long")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        if not self._running:
            self._running = 1
            self._task = asyncio.create_task(self._run())
        await turn
        return _ANSWER

    async def _run(self) -> None:
        while batch := self._waiting[:MAX_BATCH]:
            del self._waiting[:MAX_BATCH]
            self._running = len(batch)
            await asyncio.sleep(self._batch_s(len(batch)))
            for turn in batch:
                if not turn.done():  # its caller may be gone
                    turn.set_result(None)
        self._running = 0


def _serve(farm: Farm, stretch: float, pipe: Connection) -> None:
    """The servers, in a process of their own, until the pipe is closed."""

    async def run() -> None:
        servers, ports = [], []
        for speed in farm.speeds:
            server = grpc.aio.server()
            batch_s = _stretched(farm, stretch * speed)
            sleeping = Sleeping(batch_s, farm.deadline_us * stretch / 1e6)
            classifier_pb2_grpc.add_ClassifierServicer_to_server(sleeping, server)  # type: ignore[no-untyped-call]
            ports.append(server.add_insecure_port("127.0.0.1:0"))
            await server.start()
            servers.append(server)
        pipe.send(ports)
        await asyncio.to_thread(pipe.poll, None)
        await asyncio.gather(*(server.stop(None) for server in servers))

    asyncio.run(run())


def _stretched(farm: Farm, stretch: float) -> Callable[[int], float]:
    return lambda images: farm.batch_us(images) * stretch / 1e6


async def _load(targets: Sequence[Sequence[str]], arrivals_per_s: float, seconds: float) -> NDArray[np.float64]:
    """Seconds that each call took, by clients of these addresses; infinite: it failed. Calls come at random, whether
    earlier ones are answered or not; the first third is not counted."""
    random, took_s = Random(1), []
    clients = [covey.AsyncClient(list(each)) for each in targets]
    calls: set[asyncio.Task[None]] = set()

    async def call(client: covey.AsyncClient, due_s: float, *, counts: bool) -> None:
        try:
            await client.classify(_PIXELS, deadline_ms=DEADLINE_MS)
            took = time.monotonic() - due_s
        except covey.CoveyError:
            took = np.inf
        if counts:
            took_s.append(took)

    for client in clients:
        await client.classify(_PIXELS, deadline_ms=DEADLINE_MS)  # connects
    began_s = due_s = time.monotonic()
    gaps = random.gaps(arrivals_per_s / 1e6)
    while due_s < began_s + seconds:
        gaps = gaps or random.gaps(arrivals_per_s / 1e6)
        due_s += gaps.pop() / 1e6
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        task = asyncio.create_task(
            call(clients[random.below(len(clients))], due_s, counts=due_s > began_s + seconds / 3)
        )
        calls.add(task)
        task.add_done_callback(calls.discard)
    await asyncio.gather(*calls)
    for client in clients:
        await client.close()
    return np.array(took_s)


def measure(farm: Farm, stretch: float, seconds: float, *, one_each: bool) -> NDArray[np.float64]:
    """Latencies in us, not stretched any more, of calls by the SDK. `one_each`: a client knows one server only."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(farm, stretch, theirs))
    process.start()
    try:
        addresses = [f"127.0.0.1:{port}" for port in mine.recv()]
        count = int(farm.clients_each * farm.servers)
        targets = [[addresses[place % farm.servers]] if one_each else addresses for place in range(count)]
        return asyncio.run(_load(targets, farm.arrivals_per_us * 1e6 / stretch, seconds)) * 1e6 / stretch
    finally:
        mine.send(None)
        process.join(30)
        process.kill()


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a table; 0."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale_check", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--servers", type=int, default=10, metavar="N")
    parser.add_argument("--load", type=float, default=0.8, metavar="SHARE")
    parser.add_argument("--seconds", type=float, default=90.0, metavar="S", help="of each load")
    parser.add_argument("--stretch", type=float, default=300.0, metavar="TIMES")
    options = parser.parse_args(arguments)
    print("| servers | clients know | calls | p50, p99 in ms, real | simulated |")
    print("| --- | --- | --- | --- | --- |")
    for slowness, text in ((1.0, "alike"), (2.0, "every tenth slow")):
        farm = Farm(options.servers, options.load, slowness=slowness)
        for policy in ("fewest own calls", "one connection each"):
            real = measure(farm, options.stretch, options.seconds, one_each=policy == "one connection each")
            cells = [_cell(took) for took in (real, simulate(farm, POLICIES[policy]))]
            knows = "one server" if policy == "one connection each" else "all servers"
            print(f"| {text} | {knows} | {len(real):,} | {' | '.join(cells)} |", flush=True)
    return 0


def _cell(latencies_us: NDArray[np.float64]) -> str:
    refused = np.isinf(latencies_us).mean()
    p50, p99 = np.percentile(latencies_us[np.isfinite(latencies_us)], (50, 99)) / 1000
    return f"{p50:.2f}, {p99:.2f}" + f"; {refused:.2%} refused" * bool(refused)


if __name__ == "__main__":
    sys.exit(main())
