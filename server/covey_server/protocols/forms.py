"""Forms: what messages say beside their pixels, and which of them are known. `fast_way` says what for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from covey_server.batching.output import Output
from covey_server.batching.request import Buffer
from covey_server.calls.call import Call
from covey_server.inference.served_model import ServedModel

if TYPE_CHECKING:
    from covey_server.protocols.fast_way import FormGroup
    from covey_server.protocols.pipeline import Pipeline, PipelineRequest

MAX_FORMS = 256  # of one method
_MAX_PLACES = 4  # of the pixels, in messages of one length


class Form(ABC):
    """What a message says beside its pixels, checked against the model that it means. It does not hold the model, which
    would keep a replaced one alive."""

    __slots__ = ("count", "name", "row_bytes", "start", "stop", "version")
    start: int  # where the pixels begin in a message, and where they end
    stop: int

    def __init__(self, name: str, version: int, count: int) -> None:
        """As the message says: the model's name, its version, and how many images there are."""
        self.name = name
        self.version = version
        self.count = count

    @abstractmethod
    def request(self, pipeline: Pipeline, call: Call, model: ServedModel, rows: Buffer) -> PipelineRequest:
        """The request that the service makes of such a message."""

    @abstractmethod
    def write(self, group: FormGroup, output: Output, first: int) -> list[bytes]:
        """The answers of all calls of a group, whose rows begin at `first`."""


class Forms:
    """Forms by the messages' length, where their pixels lie, and all their other bytes. When there are too many, all
    are forgotten; those in use are soon known again."""

    __slots__ = ("_by_length", "_count")

    def __init__(self) -> None:
        self._by_length: dict[int, dict[tuple[int, int], dict[bytes, Form]]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def find(self, payload: bytes) -> Form | None:
        """The form of a message; None if it is not known."""
        places = self._by_length.get(len(payload))
        if places is not None:
            for (start, stop), forms in places.items():
                if (form := forms.get(payload[:start] + payload[stop:])) is not None:
                    return form
        return None

    def are_alike(self, payloads: Sequence[bytes], form: Form | None) -> bool:
        """Whether all messages are of this form, which the first one is of."""
        if form is None or len(set(map(len, payloads))) > 1:
            return False
        start, stop = form.start, form.stop
        return len({payload[:start] for payload in payloads}) == 1 and (
            stop == len(payloads[0]) or len({payload[stop:] for payload in payloads}) == 1
        )

    def add(self, payload: bytes, form: Form) -> None:
        """Keeps the form of a message, whose pixels lie where it says."""
        if self._count >= MAX_FORMS:
            self._by_length.clear()
            self._count = 0
        length, place = len(payload), (form.start, form.stop)
        places = dict(self._by_length.get(length, {}))  # a copy: another thread may be reading it
        if place not in places and len(places) == _MAX_PLACES:
            self._count -= len(places.pop(next(iter(places))))
        forms = places[place] = dict(places.get(place, {}))
        self._count -= len(forms)
        forms[payload[: form.start] + payload[form.stop :]] = form
        self._count += len(forms)
        self._by_length[length] = places
