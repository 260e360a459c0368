"""What a fork leaves of gRPC, and of the clients that were made before it.

gRPC's own threads survive a fork only if no other thread is inside gRPC at that moment. So a fork waits until the
calls under way have ended, and new ones wait for the fork. The child then starts afresh: each client connects anew,
with locks of its own. Where a call did not end in time, or a stream was open, the child's gRPC cannot be trusted: it
might hang past every deadline, so each call of the child raises ForkedProcess instead. Clients over HTTP need none of
this.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import grpc

from covey.errors import ForkedProcess

MAX_WAIT_S = 0.25  # of a fork for calls under way; new calls wait no longer either
_SPAWN = 'start processes with multiprocessing\'s "spawn" or "forkserver"'
_DISABLED = ("0", "f", "false", "n", "no")  # what gRPC takes for no


class Forked(Protocol):
    """What is told of forks."""

    def start_afresh(self) -> None:
        """In the child: drops channels, threads and locks, which belong to the parent."""


class _Process:
    """The state of this process."""

    def __init__(self) -> None:
        self.generation = 0  # counts the forks that led here
        self.reason = ""  # why gRPC must not be used here; empty where it may
        self.async_reason = ""  # the same, of grpc.aio
        self.opened = self.opened_async = False  # whether there has been a channel
        self.anchor: grpc.Channel | None = None  # never connected
        self.forks = 0  # under way, in several threads
        self.calls = 0  # under way
        self.long_calls = 0  # under way, that no fork waits for
        self.changed = threading.Condition(threading.Lock())

    @property
    def quiet(self) -> bool:
        return not (self.calls or self.long_calls)

    def child(self) -> _Process:
        """The state of a process that was forked off now."""
        child = _Process()
        child.generation = self.generation + 1
        child.reason, child.async_reason = self.reason, self.async_reason
        if not self.quiet:
            child.reason = f"calls or streams were under way when it was forked off; {_SPAWN}, or fork while none is"
        elif self.opened and os.environ.get("GRPC_ENABLE_FORK_SUPPORT", "").lower() in _DISABLED:
            child.reason = f"GRPC_ENABLE_FORK_SUPPORT=0 leaves gRPC unusable where the parent had used it; {_SPAWN}"
        if self.opened_async:
            child.async_reason = (
                f"its parent had used one, and grpc.aio does not survive a fork; {_SPAWN}, fork before the first call, "
                f"or use covey.Client here"
            )
        return child


_process = _Process()
_watched: weakref.WeakSet[Any] = weakref.WeakSet()
_abandoned: list[object] = []


def watch(client: Forked) -> None:
    """Tells `client` of forks, as long as it lives."""
    _watched.add(client)


def abandon(things: object) -> None:
    """Keeps the parent's channels: to close them here might wait for threads that are not here."""
    _abandoned.append(things)


def generation() -> int:
    """Changes with each fork: what was begun in another one belongs to the parent."""
    return _process.generation


def require_same(begun: int) -> None:
    """Raises ForkedProcess where an iteration that began in generation `begun` is continued in a child."""
    if begun != _process.generation:
        raise ForkedProcess(
            "this iterator was begun before the fork and belongs to the parent process; begin a new one here"
        )


def require_usable() -> None:
    """Raises ForkedProcess where gRPC must not be used in this process."""
    if _process.reason:
        raise ForkedProcess(f"covey cannot be used in this forked process: {_process.reason}")


def require_async_usable() -> None:
    """The same for grpc.aio."""
    require_usable()
    if _process.async_reason:
        raise ForkedProcess(f"an AsyncClient cannot be used in this forked process: {_process.async_reason}")


def opened(*, is_async: bool = False) -> None:
    """gRPC is in use from now on."""
    _process.opened = True
    _process.opened_async = _process.opened_async or is_async


class _Call:
    """A call, for the time that its thread is inside gRPC. Raises ForkedProcess where there must be none."""

    def __enter__(self) -> None:
        process = _process
        with process.changed:
            while process.forks:
                process.changed.wait()
            if process.reason:
                require_usable()
            process.calls += 1

    def __exit__(self, *_: object) -> None:
        process = _process
        with process.changed:
            process.calls = max(0, process.calls - 1)  # 0 in a child that was forked off inside a call
            if process.forks:
                process.changed.notify_all()


class _LongCall:
    """A stream, or a call of an event loop: no fork waits for it, and none holds it up."""

    def __enter__(self) -> None:
        with _process.changed:
            _process.long_calls += 1

    def __exit__(self, *_: object) -> None:
        with _process.changed:
            _process.long_calls = max(0, _process.long_calls - 1)


CALL = _Call()
LONG_CALL = _LongCall()


@dataclass(frozen=True, slots=True)
class Rules:
    """What a client observes: `call` is held during each call, `long_call` during those that no fork waits for;
    `require_usable` raises ForkedProcess, and `opened` is called, before there is a channel."""

    call: AbstractContextManager[None]
    long_call: AbstractContextManager[None]
    require_usable: Callable[[], None]
    opened: Callable[[], None]


GRPC = Rules(CALL, LONG_CALL, require_usable, opened)
GRPC_AIO = Rules(LONG_CALL, LONG_CALL, require_async_usable, partial(opened, is_async=True))
# Its sockets, loops and threads are each client's own; a child makes new ones, whatever the parent was doing.
HTTP = Rules(nullcontext(), nullcontext(), lambda: None, lambda: None)


def _before() -> None:
    process = _process
    with process.changed:
        process.forks += 1
        if not process.long_calls:  # else waiting would help nothing
            process.changed.wait_for(lambda: not process.calls, MAX_WAIT_S)
        if process.opened and process.anchor is None:
            # Once the last channel is closed, gRPC ends its threads in the background, and a child that is forked off
            # meanwhile would hang. As long as there is a channel it does not.
            process.anchor = grpc.insecure_channel("unix:/nobody")


def _after_in_parent() -> None:
    process = _process
    with process.changed:
        process.forks -= 1
        process.changed.notify_all()


def _after_in_child() -> None:
    global _process
    abandon(_process.anchor)
    _process = _process.child()
    for client in list(_watched):
        client.start_afresh()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
