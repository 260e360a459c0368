"""Which version answers a call that names none, while its model has a canary.

A caller is known by what it sends as x-request-id, else by its connection. Its principal would not do: behind one token
there may be all callers, and a canary must not get all of them at once.
"""

from __future__ import annotations

from covey_server.calls.burst import Burst
from covey_server.calls.call import Call
from covey_server.inference.served_model import ServedModel
from covey_server.models.canary import Canary
from covey_server.models.catalog import Catalog

_ID = "x-request-id"


def route(catalog: Catalog, default: ServedModel, call: Call) -> ServedModel:
    """The version for a call that gets the `default` one of its model, or the canary."""
    canary = catalog.canaries.get(default.name)
    # Not Call.request_id, which the HTTP front makes up where the caller sent none.
    if canary is None or not canary.takes(call.header(_ID) or call.peer):
        return default
    return catalog.find(default.name, canary.version)


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
