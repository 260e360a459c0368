"""A canary on trial, as one process knows it, and what the processes of a server tell each other about it."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from covey_server.inference.served_model import ServedModel
from covey_server.models.canary import Canary, Outcome
from covey_server.observability.canary_rules import Figures
from covey_server.observability.comparison import Result

State = Literal["checking", "trial", "promoted", "rolled_back"]


class OnTrial(NamedTuple):
    """What `choice_files.roll_back_canary` takes, so that another process can end a canary if this one dies."""

    folder: str
    name: str
    version: int
    served: int


class Decision(NamedTuple):
    """What became of a canary, for the other processes of a server; `text` says why."""

    name: str
    version: int
    served: int
    outcome: Outcome
    text: str


class Telling(Protocol):
    """What the other processes of a server are told."""

    def tell_trials(self, on_trial: Sequence[OnTrial]) -> None:
        """Which canaries run here, each time before another one does."""

    def tell_decision(self, decision: Decision) -> None:
        """What was decided here."""


class Trial:
    """A canary from its first check to what was decided. Keeps no model alive."""

    def __init__(self, canary: Canary, tested: ServedModel, served: ServedModel) -> None:
        self.canary = canary
        self.served_version = served.version
        self.state: State = "checking"
        self.reason = ""  # why it was promoted or rolled back
        # That it has answered, that failed on it, and that it had no time for, as of the last look.
        self.images = self.failed_calls = self.late_calls = 0
        self.compared: Counter[Result] = Counter({"agrees": 0, "differs": 0, "failed": 0, "skipped": 0})
        self.runs = 0  # of both versions on the same images, and how long they took them
        self.canary_s = self.served_s = 0.0
        self.began_s = 0.0
        self.is_overtaken = False  # whether others had decided before this process did
        self.before: tuple[Figures, Figures] | None = None
        self._models = weakref.ref(tested), weakref.ref(served)

    def end(self, outcome: Outcome, reason: str) -> bool:
        """Ends the canary in this process, and keeps why. False, and nothing is changed, if it has ended. Where two
        processes decide at the same time, and no file says which of them was first, the one that rolls back is
        right: it may end a canary that is promoted."""
        if not outcome or self.state in (outcome, "rolled_back"):
            return False
        self.state, self.reason = outcome, reason
        self.canary.end(outcome)
        return True

    @property
    def is_over(self) -> bool:
        """Whether it is decided."""
        return self.state in ("promoted", "rolled_back")

    def is_of(self, canary: Canary, tested: ServedModel, served: ServedModel) -> bool:
        """Whether it is still this canary beside this version, and both from the same files."""
        return self.canary is canary and self._models[0]() is tested and self._models[1]() is served
