"""The other processes of the same server, as one of them sees them: by way of the parent."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from covey_server.errors import EngineFailed
from covey_server.observability.health import Health
from covey_server.observability.trial import Decision, OnTrial
from covey_server.processes import merging
from covey_server.processes.channel import Channel, Unanswered

_PAGE_S = 5.0  # for the parent to ask all processes


class Siblings(Collector):
    """The channel to the parent, from the side of a process. Collects the metrics of the whole server."""

    def __init__(self, connected: socket.socket) -> None:
        self.registry = CollectorRegistry()  # of the whole server
        self.registry.register(self)
        self.metrics_port = 0  # the parent's
        # Stops this process when the parent says so or is gone. Before there is a server, nothing is lost.
        self.stop: Callable[[], None] = lambda: os._exit(1)
        self._own = CollectorRegistry()
        self._show: Callable[[bool, bool], None] = lambda live, ready: None
        self._follow: Callable[[Decision], None] = lambda decision: None
        self._channel = Channel(connected, self._handle)

    def receive(self) -> Any:  # noqa: ANN401 - as it was sent
        """What the parent says first. Raises ConnectionError if it is gone."""
        return self._channel.receive()[1]

    def start(self) -> None:
        """Listens to the parent from now on."""
        threading.Thread(target=self._listen, name="siblings", daemon=True).start()

    def join(
        self, own: CollectorRegistry, show: Callable[[bool, bool], None], follow: Callable[[Decision], None]
    ) -> None:
        """`own`: this process's metrics. `show` is called with whether all processes are live, and whether the server
        as a whole is ready; `follow` with what another process has decided about a canary."""
        self._own, self._show, self._follow = own, show, follow

    def tell(self, health: Health) -> None:
        """Tells the parent how this process is."""
        self._channel.send("health", {"works": health.works, "serving": health.serving})

    def tell_serving(self, facts: dict[str, object]) -> None:
        """Tells that this process serves; `facts` are for the log."""
        self._channel.send("serving", facts)

    def tell_trials(self, on_trial: Sequence[OnTrial]) -> None:
        """Tells which canaries run here, for the case that this process dies of one."""
        self._channel.send("trials", on_trial)

    def tell_decision(self, decision: Decision) -> None:
        """Tells what was decided about a canary here, for the other processes to follow."""
        self._channel.send("decision", decision)

    def tell_last_figures(self) -> None:
        """So that what was counted until the end is not lost."""
        self._channel.send("figures", merging.plain(self._own.collect()))

    def collect(self) -> Iterable[Metric]:
        """The metrics of the whole server. Raises EngineFailed if the parent does not answer."""
        try:
            page = self._channel.ask("page").result(_PAGE_S)
        except (TimeoutError, Unanswered) as error:
            raise EngineFailed("the metrics of the other processes did not come; ask again") from error
        return merging.families(page)

    def _listen(self) -> None:
        self._channel.run()
        self.stop()

    def _handle(self, kind: str, value: Any) -> object:  # noqa: ANN401 - as it was sent
        if kind == "figures":
            return merging.plain(self._own.collect())
        if kind == "health":
            self._show(value["live"], value["ready"])
        elif kind == "decision":
            self._follow(Decision(*value))
        elif kind == "stop":
            self.stop()
        return None
