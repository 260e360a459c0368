"""The interface of a protocol."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from covey_load.payloads import Batch
from covey_load.remote import Remote
from covey_load.timings import ReadTiming
from covey_load.wire.frames import Request
from covey_load.wire.http1 import HttpRequest


@dataclass(frozen=True, slots=True)
class ModelInput:
    """What a model takes for one image: pixels of this `shape` and `datatype` (an Open Inference Protocol name), in
    the tensor `name`. `facts` is what the server says of the model, in words."""

    name: str
    shape: tuple[int, ...]
    datatype: str
    facts: dict[str, str]


class Protocol(ABC):
    """One server, called by one protocol. `read_timing`: None where answers do not tell the time that they took."""

    read_timing: ReadTiming | None = None
    calls_per_connection: int | None = None  # None: as many as the server allows

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    @abstractmethod
    def describe(self, model: str) -> ModelInput:
        """Asks the server what a model takes. Raises CallError, among them UnknownModel, where it does not answer or
        knows no such model."""

    @abstractmethod
    def body(self, model: str, model_input: ModelInput, batch: Batch) -> bytes:
        """A request for one batch. Raises InvalidInput where the protocol cannot carry it."""

    @abstractmethod
    def requests(self, bodies: list[tuple[str, bytes]]) -> list[Request] | list[HttpRequest]:
        """Models and bodies as requests for the wire, numbered from 0."""

    @abstractmethod
    def check(self, model: str, body: bytes) -> None:
        """Sends one request and checks its answer. Raises CoveyError where a load of such requests would only fail."""
