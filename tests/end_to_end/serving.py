"""A real server process under load, watched from outside: every answer is checked, every state is polled."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import numpy as np
import psutil
from bench.processes import SERVICE, Server

from covey_load.observation import family
from covey_proto.v1 import classifier_pb2 as pb

DEADLINE_S = 60.0
CALLERS = 3


class Serving:
    """A server of echo models (4x4x1, 10 classes) and the callers that ask it all the time. Each process of it has one
    of the `channels`, of which callers take their turns."""

    def __init__(self, server: Server, channels: Sequence[grpc.Channel], log: Path) -> None:
        self.server = server
        self.wrong: list[str] = []
        self.answers = [0] * CALLERS
        self.versions: set[int] = set()  # that have answered
        self._log = log
        self._classify: list[grpc.UnaryUnaryMultiCallable[bytes, bytes]] = [
            channel.unary_unary(f"{SERVICE}/Classify") for channel in channels
        ]
        self._list: list[grpc.UnaryUnaryMultiCallable[bytes, bytes]] = [
            channel.unary_unary(f"{SERVICE}/ListModels") for channel in channels
        ]
        self._stopping = threading.Event()

    @property
    def processes(self) -> int:
        """How many there are."""
        return len(self._list)

    def models(self, process: int = 0) -> list[str]:
        """All versions in ListModels of a process: "name/version", or "name/version reason" where the file is refused;
        "ready" stands before the reason where what the file held before is served."""
        models = pb.ListModelsResponse.FromString(self._list[process](b"", timeout=20)).models
        states = {pb.Model.STATE_REFUSED: "", pb.Model.STATE_READY: "ready "}
        return [
            f"{each.name}/{each.version}" + f" {states[each.state]}{each.reason}" * bool(each.reason) for each in models
        ]

    def wait_for(self, *wanted: str) -> None:
        """Until ListModels of each process shows just these; a refused version needs to begin alike."""
        for process in range(self.processes):
            self._wait(
                lambda process=process: _alike(self.models(process), wanted),  # type: ignore[misc]
                lambda process=process: f"wanted {wanted}, there is {self.models(process)}",  # type: ignore[misc]
            )

    def wait_for_log(self, text: str, times: int = 1) -> None:
        """Until each process has logged a text so often."""
        times *= self.processes
        self._wait(lambda: self._log.read_text().count(text) >= times, lambda: f"{text!r} was not logged")

    def wait_for_answers(self, version: int | None = None, count: int = 20) -> None:
        """Until each caller has got more answers, and one came from this version."""
        self.versions.clear()
        goals = [answers + count for answers in self.answers]
        self._wait(
            lambda: (
                all(answers >= goal for answers, goal in zip(self.answers, goals, strict=True))
                and (version is None or version in self.versions)
            ),
            lambda: f"the callers got {self.answers} answers, wanted {goals}; from versions {self.versions}",
        )

    def versions_answering(self, asked: Sequence[int]) -> list[int]:
        """The versions that answer requests for these."""
        requests = [pb.ClassifyRequest(version=each, pixels=pb.Pixels(data=bytes(16))) for each in asked]
        return [self.classify(request).version for request in requests]

    def classify(self, request: pb.ClassifyRequest, process: int = 0) -> pb.ClassifyResponse:
        return pb.ClassifyResponse.FromString(self._classify[process](request.SerializeToString(), timeout=20))

    def ask_until_stopped(self, caller: int) -> None:
        """One caller: images of its own, each answer held against them."""
        random = np.random.default_rng(caller)
        while not self._stopping.is_set():
            pixels = random.permutation(256)[:16].astype(np.uint8)
            request = pb.ClassifyRequest(pixels=pb.Pixels(data=pixels.tobytes()), top_k=10)
            try:
                answer = self.classify(request, caller % self.processes)
            except grpc.RpcError as error:
                self.wrong.append(f"{error.code().name} {error.details()}")
                return
            ranks = np.argsort(pixels[:10])[::-1].tolist()
            if [each.index for each in answer.results[0].classes] != ranks:
                self.wrong.append(f"version {answer.version} ranked {pixels[:10]} wrongly: {answer}")
            self.versions.add(answer.version)
            self.answers[caller] += 1

    def stop(self) -> None:
        self._stopping.set()

    def _wait(self, is_met: Callable[[], bool], failure: Callable[[], str]) -> None:
        give_up = time.monotonic() + DEADLINE_S
        while not is_met():
            assert self.server.is_running, "the server died"
            assert self.wrong == []
            assert time.monotonic() < give_up, failure()
            self.models()  # a call's time goes by between two looks


@contextmanager
def connected_to_each_process(server: Server) -> Iterator[dict[int, grpc.Channel]]:
    """A channel to each process that serves, by its id: the kernel chooses, so channels are opened until each has
    one."""
    members = family(server.pid)[1:] or family(server.pid)
    port = int(server.target.rpartition(":")[2])
    with ExitStack() as stack:
        found: dict[int, grpc.Channel] = {}
        give_up = time.monotonic() + DEADLINE_S
        while len(found) < len(members):
            assert time.monotonic() < give_up, f"of {len(members)} processes {len(found)} took connections"
            channel = stack.enter_context(grpc.insecure_channel(server.target, [("grpc.use_local_subchannel_pool", 1)]))
            before = [_connections(each, port) for each in members]
            ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"{SERVICE}/ListModels")
            ask(b"", timeout=20)
            grown = [_connections(each, port) > count for each, count in zip(members, before, strict=True)]
            found.setdefault(members[grown.index(True)].pid, channel)
        yield found


def _connections(process: psutil.Process, port: int) -> int:
    found = process.net_connections("tcp")
    return sum(each.status == psutil.CONN_ESTABLISHED and each.laddr[1] == port for each in found)


@contextmanager
def under_load(server: Server, log: Path) -> Iterator[Serving]:
    """Callers ask the server until the end; no answer may have failed or been wrong by then."""
    with connected_to_each_process(server) as channels:
        serving = Serving(server, list(channels.values()), log)
        callers = [threading.Thread(target=serving.ask_until_stopped, args=(number,)) for number in range(CALLERS)]
        for caller in callers:
            caller.start()
        try:
            serving.wait_for_answers()
            yield serving
            serving.wait_for_answers()
        finally:
            serving.stop()
            for caller in callers:
                caller.join()
        assert serving.wrong == []
        assert "this is a bug" not in log.read_text()


def _alike(found: list[str], wanted: tuple[str, ...]) -> bool:
    return len(found) == len(wanted) and all(
        each == expected if " " not in expected else each.startswith(expected)
        for each, expected in zip(found, wanted, strict=True)
    )
