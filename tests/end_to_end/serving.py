"""A real server process under load, watched from outside: every answer is checked, every state is polled."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
from bench.processes import SERVICE, Server

from covey_proto.v1 import classifier_pb2 as pb

DEADLINE_S = 60.0
CALLERS = 3


class Serving:
    """A server of echo models (4x4x1, 10 classes) and the callers that ask it all the time."""

    def __init__(self, server: Server, channel: grpc.Channel, log: Path) -> None:
        self.server = server
        self.wrong: list[str] = []
        self.answers = [0] * CALLERS
        self.versions: set[int] = set()  # that have answered
        self._log = log
        self._classify: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"{SERVICE}/Classify")
        self._list: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"{SERVICE}/ListModels")
        self._stopping = threading.Event()

    def models(self) -> list[str]:
        """All versions in ListModels: "name/version", or "name/version reason"."""
        models = pb.ListModelsResponse.FromString(self._list(b"", timeout=20)).models
        refused = pb.Model.STATE_REFUSED
        return [f"{each.name}/{each.version}" + f" {each.reason}" * (each.state == refused) for each in models]

    def wait_for(self, *wanted: str) -> None:
        """Until ListModels shows just these; a refused version needs to begin alike."""
        self._wait(lambda: _alike(self.models(), wanted), lambda: f"wanted {wanted}, there is {self.models()}")

    def wait_for_log(self, text: str, times: int = 1) -> None:
        """Until the server has logged a text so often."""
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

    def classify(self, request: pb.ClassifyRequest) -> pb.ClassifyResponse:
        return pb.ClassifyResponse.FromString(self._classify(request.SerializeToString(), timeout=20))

    def ask_until_stopped(self, caller: int) -> None:
        """One caller: images of its own, each answer held against them."""
        random = np.random.default_rng(caller)
        while not self._stopping.is_set():
            pixels = random.permutation(256)[:16].astype(np.uint8)
            request = pb.ClassifyRequest(pixels=pb.Pixels(data=pixels.tobytes()), top_k=10)
            try:
                answer = self.classify(request)
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
def under_load(server: Server, log: Path) -> Iterator[Serving]:
    """Callers ask the server until the end; no answer may have failed or been wrong by then."""
    with grpc.insecure_channel(server.target) as channel:
        serving = Serving(server, channel, log)
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
