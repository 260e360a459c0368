"""Calls of one method that a front received together, before a Call is made of each.

Most calls of a busy server look alike. As long as they are handled alike, they need no object each: a front that can
gives out columns, and makes the calls only for those that go the ordinary way.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from covey_server.calls.call import Call


class Burst(ABC):
    """At least one call. Columns have an entry for each, in the order of arrival. Either `calls` is called, once, and
    each of the calls is answered by itself, or `reply` answers all of them. Times are of time.monotonic_ns."""

    __slots__ = ("arrived_ns", "begin_record", "by_peer", "deadline_ns", "payloads", "peers")
    begin_record: Callable[[Call], None] | None  # gives each call that is made a record
    holds_answer = False  # as in Call

    def __init__(
        self, payloads: Sequence[bytes], peers: Sequence[str], arrived_ns: int, deadline_ns: int | None
    ) -> None:
        """`peers` are the connections they came by; `deadline_ns` is the earliest deadline of all, None if no call has
        one."""
        self.payloads = payloads
        self.peers = peers
        # How many calls came by each.
        self.by_peer: Mapping[str, int] = {peers[0]: 1} if len(peers) == 1 else Counter(peers)
        self.arrived_ns = arrived_ns
        self.deadline_ns = deadline_ns
        self.begin_record = None

    @abstractmethod
    def headers(self, name: str) -> Sequence[str]:
        """Of each call, as Call.header."""

    @property
    @abstractmethod
    def principals(self) -> Sequence[str]:
        """Of each call, as Call.principal."""

    @property
    @abstractmethod
    def cancelled(self) -> bool:
        """Whether any of the callers has gone."""

    @abstractmethod
    def select(self, places: Sequence[int]) -> Burst:
        """Some of the calls as a burst of their own; each call may be selected once, and this burst is then done."""

    @abstractmethod
    def calls(self) -> list[Call]:
        """The calls one by one."""

    @abstractmethod
    def reply(self, payloads: Sequence[bytes]) -> None:
        """Answers all calls, each with its message."""
