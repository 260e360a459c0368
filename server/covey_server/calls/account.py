"""What a principal may, and what it has used of that. A principal is the token or certificate that a caller came with;
several may share one account. `batching/limits` keeps the accounts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Priority = Literal["interactive", "batch"]
PRIORITIES: tuple[Priority, ...] = get_args(Priority)


@dataclass(frozen=True)
class Allowance:
    """What a principal may; None: without limit."""

    requests_per_s: float | None = None
    images_per_s: float | None = None
    in_flight: int | None = None  # calls that are not answered yet
    priority: Priority = "interactive"


class Account:
    """What one principal, or several together, have used of an allowance. Times are of time.monotonic_ns."""

    __slots__ = ("allowance", "images_until_ns", "in_flight", "name", "requests_until_ns")

    def __init__(self, name: str, allowance: Allowance) -> None:
        """`name` may be shown: in messages, and as a metric's label."""
        self.name = name
        self.allowance = allowance
        self.in_flight = 0
        self.requests_until_ns = 0.0  # until when the requests that were let in are paid for
        self.images_until_ns = 0.0  # the same of images

    @property
    def is_batch(self) -> bool:
        """Whether its images wait for those of interactive principals."""
        return self.allowance.priority == "batch"
