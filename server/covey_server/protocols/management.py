"""Runs the calls that load and unload models and choose versions, one after another on a thread of its own: loading
takes seconds, and requests have priority."""

from __future__ import annotations

from covey_server.calls import status
from covey_server.calls.call import Call
from covey_server.calls.service import Handler, handle
from covey_server.errors import Overloaded, Stopping
from covey_server.system.later import Later

_MAX_WAITING = 64


class Management:
    """The calls that wait, and the thread: `work`, to be started, closed by `close`, and joined."""

    def __init__(self) -> None:
        self.work: Later[tuple[Handler, Call]] = Later("management", _answer, _MAX_WAITING, max_bytes=0)

    def submit(self, handler: Handler, call: Call) -> None:
        """Lets `handler` answer the call when its turn comes. Raises Overloaded if too many wait, Stopping after
        `close`."""
        if self.work.put((handler, call), size_bytes=0):
            return
        if self.work.is_closed:
            raise Stopping("the server is stopping; it loads no models and chooses no versions any more")
        raise Overloaded(f"{_MAX_WAITING} calls wait to load models or choose versions already; try again later")

    def close(self) -> None:
        """Refuses all calls that wait or come. Loading that has begun goes on; joining `work` tells whether it has
        ended."""
        stopping = status.of(Stopping("the server is stopping; it did not begin what was asked for"))
        for _, call in self.work.close():
            call.fail(stopping)


def _answer(waiting: tuple[Handler, Call]) -> None:
    handler, call = waiting
    if not call.cancelled:  # else nobody waits for it any more
        handle(handler, call)
