"""Which version answers a call that names none, while its model has a canary; where that fails, or has no time for the
call, the served one does.

A caller is known by what it sends as x-request-id, else by its connection. Its principal would not do: behind one token
there may be all callers, and a canary must not get all of them at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias

from covey_server.calls import status
from covey_server.calls.burst import Burst
from covey_server.calls.call import Call
from covey_server.errors import is_late
from covey_server.inference.served_model import ServedModel
from covey_server.models.canary import Canary
from covey_server.models.catalog import Catalog

Again: TypeAlias = Callable[[Call], object]

_ID = "x-request-id"


def route(catalog: Catalog, default: ServedModel, call: Call, again: Again) -> ServedModel:
    """The version for a call: the `default` one of its model, or the canary. If the canary fails or is too slow,
    `again` has the default one answer the call."""
    canary = catalog.canaries.get(default.name)
    # Not Call.request_id, which the HTTP front makes up where the caller sent none.
    if canary is None or not canary.takes(call.header(_ID) or call.peer):
        return default
    call.again = again
    return catalog.find(default.name, canary.version)


def may_try_again(call: Call) -> bool:
    """Whether a canary has a call; if it fails or is too slow, the served version answers."""
    return getattr(call, "again", None) is not None


def is_tried_again(call: Call) -> bool:
    """Whether the served version has a call because a canary failed on it or was too slow: what it takes is counted
    already."""
    return getattr(call, "again", ...) is None  # of all other calls `again` is something else, or not set


def second_try(
    call: Call, error: Exception, deadline_ns: int | None = None, *, is_counted: bool = True
) -> Again | None:
    """What answers a call that ended with this error on a canary; None if it was not on one, or the canary is not to
    blame, or the call's deadline has passed. `is_counted`: whether what the call takes is counted already."""
    if not may_try_again(call):
        if is_tried_again(call):
            del call.again
        return None
    again = call.again
    del call.again  # the call is as new: one that was refused, for example, may be tried again by its stream
    if is_late(error):
        if deadline_ns is None or time.monotonic_ns() >= deadline_ns:
            return None
    elif status.of(error).name != "INTERNAL":
        return None
    if is_counted:
        call.again = None
    return again


def set_apart(burst: Burst, canary: Canary) -> tuple[Burst | None, list[Call]]:
    """What is left of a burst, and the calls that get the canary. `burst` is not to be used any more."""
    keys = [given or peer for given, peer in zip(burst.headers(_ID), burst.peers, strict=True)]
    chosen = [place for place, key in enumerate(keys) if canary.takes(key)]
    if not chosen:
        return burst, []
    others = sorted(set(range(len(keys))).difference(chosen))
    if not others:
        return None, burst.calls()
    left = burst.select(others)
    return left, burst.select(chosen).calls()
