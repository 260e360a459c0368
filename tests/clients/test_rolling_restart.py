"""Two servers behind one client: each is restarted under load, and no call fails. They are processes for gRPC, one on
each front; over HTTP they are in this process."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from bench.processes import covey_server
from tests.conftest import WriteModel

import covey

from .conftest import covey_servers

CALLERS = 3  # threads of one Client, and as many tasks of one AsyncClient
ANSWERS = 50  # that are waited for between two events
PATIENCE_S = 60.0
PAUSE_S = 0.01  # of a caller between two calls: the servers need the cores to start


class Load:
    """Calls of both clients all the time, every answer checked. `failures` are what calls raised."""

    def __init__(self, targets: list[str]) -> None:
        self.targets = targets
        self.answers = {"Client": 0, "AsyncClient": 0}
        self.versions: Counter[tuple[str, int]] = Counter()  # answers of each client from each server
        self.failures: list[str] = []
        self._stopping = threading.Event()
        self._lock = threading.Lock()

    def wait_for_answers(self) -> None:
        """Until each client has got so many more."""
        goals = {name: answers + ANSWERS for name, answers in self.answers.items()}
        self.wait_until(lambda: all(self.answers[name] >= goal for name, goal in goals.items()))

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while not is_so():
            assert self.failures == []
            assert time.monotonic() < end_s, f"waited in vain; answers so far: {self.answers}"
            self._stopping.wait(0.01)

    def wait_until_asked(self, version: int) -> None:
        """Until each client has got its share of answers from the server of that version: both have found it again."""
        goals = {name: self.versions[name, version] + ANSWERS for name in self.answers}
        self.wait_until(lambda: all(self.versions[name, version] >= goal for name, goal in goals.items()))

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        with covey.Client(self.targets) as client, ThreadPoolExecutor(CALLERS + 1) as pool:
            callers = [pool.submit(self._call, client, caller) for caller in range(CALLERS)]
            callers.append(pool.submit(asyncio.run, self._call_in_tasks()))
            try:
                yield
            finally:
                self._stopping.set()
            for caller in callers:
                caller.result(timeout=PATIENCE_S)

    def _call(self, client: covey.Client, number: int) -> None:
        while not self._stopping.is_set():
            number += CALLERS
            try:
                self._take("Client", number, client.classify(_image(number)))
            except covey.CoveyError as error:
                self.failures.append(repr(error))
            self._stopping.wait(PAUSE_S)

    async def _call_in_tasks(self) -> None:
        async def call(number: int) -> None:
            while not self._stopping.is_set():
                number += CALLERS
                try:
                    self._take("AsyncClient", number, await client.classify(_image(number)))
                except covey.CoveyError as error:
                    self.failures.append(repr(error))
                await asyncio.sleep(PAUSE_S)

        async with covey.AsyncClient(self.targets) as client:
            await asyncio.gather(*[call(caller) for caller in range(CALLERS)])

    def _take(self, name: str, number: int, answer: covey.Classification) -> None:
        if answer.index != number % 10:
            self.failures.append(f"image {number} was answered with {answer.index}")
        with self._lock:
            self.answers[name] += 1
            self.versions[name, answer.version] += 1


def _image(number: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Its answer's best class is `number % 10`, told by the echo model."""
    image = np.zeros((4, 4), np.uint8)
    image.flat[number % 10] = 200
    return image


def test_a_rolling_restart_of_two_servers_fails_no_call(
    tmp_path: Path, write_echo_model: WriteModel, transport: str
) -> None:
    """Each serves a version of its own, so that answers tell which server gave them."""
    versions = {"native": 1, "grpcio": 2}
    for front, version in versions.items():
        write_echo_model(tmp_path / front, version=version)

    def start(stack: contextlib.ExitStack, front: str, port: str = "0") -> str:
        if transport == "http":
            return stack.enter_context(covey_servers("http"))(tmp_path / front, http_port=int(port)).target
        options = ["--grpc-port", port]
        return stack.enter_context(covey_server(tmp_path / front, front, tmp_path / f"{front}.log", options)).target

    with contextlib.ExitStack() as restarted, contextlib.ExitStack() as first, contextlib.ExitStack() as second:
        servers = [(stack, front, start(stack, front)) for stack, front in ((first, "native"), (second, "grpcio"))]
        load = Load([target for _, _, target in servers])
        with load.running():
            for version in versions.values():
                load.wait_until_asked(version)
            for stack, front, target in servers:
                stack.close()  # of a process: SIGTERM, and its end
                load.wait_for_answers()
                start(restarted, front, target.rpartition(":")[2])
                load.wait_until_asked(versions[front])
    assert load.failures == []
    assert min(load.answers.values()) >= 4 * ANSWERS
