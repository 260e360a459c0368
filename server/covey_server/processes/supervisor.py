"""The parent: starts the processes, replaces those that end, drains them all at the end.

Everything that happens comes through one queue, and one thread decides. The first process goes ahead: what cannot be
served, or a wrong file, is said once.
"""

from __future__ import annotations

import logging
import math
import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from covey_server import serving
from covey_server.config import Config
from covey_server.models import choice_files
from covey_server.observability.health import Health
from covey_server.observability.metrics_server import open_metrics
from covey_server.processes import shares
from covey_server.processes.child import Child
from covey_server.processes.figures import Figures
from covey_server.processes.ports import Ports
from covey_server.processes.restarts import MAX_FAILED_STARTS, Restarts
from covey_server.system import standard_output
from covey_server.system.signals import INTERRUPTED, StopSignals

log = logging.getLogger(__name__)

_LOOK_S, _MAX_SILENT_LOOKS = 5.0, 6  # a process that does not answer so often hangs
_SHOWN_S = 1.0  # for all processes to say that they are not ready, before calls are refused
_END_S = 25.0  # beyond the time for draining: for answers to be taken, and models that are being loaded


class Supervisor:
    """A server of several processes. `run`, once."""

    def __init__(self, config: Config) -> None:
        """Takes the ports. Raises StartupError."""
        shares.require_possible(config)
        self._config = config
        self._ports = Ports(config)
        self._health = Health()
        self._restarts = Restarts()
        self._children: list[Child] = []
        self._figures = Figures(
            lambda: [child for child in self._children if child.serves], lambda: self._restarts.count
        )
        self._metrics = open_metrics(config, self._figures.registry, self._health)
        self._pages = ThreadPoolExecutor(1, "pages")
        self._events: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._due_s = dict.fromkeys(range(1, config.processes), math.inf)  # when a place gets its next process
        self._due_s[0] = 0.0
        self._beginning = {
            "config": shares.to_message(shares.of_one(config, self._ports.grpc, self._ports.http)),
            "metrics_port": self._metrics.port,
        }
        self._look_s = 0.0  # when the processes are looked at next
        self._is_complete = False  # once all processes have served at the same time
        self._exit_code: int | None = None

    def run(self) -> int:
        """Serves until SIGTERM, SIGINT or SIGHUP; a second one ends all processes at once. Returns the exit code."""
        signals = StopSignals(self._kill_all)
        threading.Thread(target=self._wait_for, args=(signals,), name="stopping", daemon=True).start()
        self._metrics.start()
        try:
            while self._exit_code is None:
                self._start_due()
                self._look()
                self._next(min(self._look_s, *self._due_s.values()))
            return self._drain()
        finally:
            self._kill_all()
            self._metrics.stop()
            self._pages.shutdown(wait=False)
            self._ports.close()

    def _wait_for(self, signals: StopSignals) -> None:
        is_ctrl_c = signals.wait() == signal.SIGINT
        self._events.put(lambda: self._stop(INTERRUPTED if is_ctrl_c and not self._is_complete else 0))

    def _next(self, until_s: float) -> bool:
        """Waits for the next event and handles it. Returns False if none came by then."""
        timeout_s = None if math.isinf(until_s) else max(0.0, until_s - time.monotonic())
        try:
            event = self._events.get(timeout=timeout_s)
        except queue.Empty:
            return False
        event()
        return True

    def _start_due(self) -> None:
        for place, due_s in self._due_s.items():
            if due_s <= time.monotonic():
                self._due_s[place] = math.inf
                try:
                    child = Child(place, self._beginning | {"number": place + 1}, self._told)
                except OSError as error:
                    log.error("process %d cannot be started: %s", place + 1, error)
                    self._again(place, 0.0, served=False, code=1)
                else:
                    self._children.append(child)

    def _look(self) -> None:
        """Kills processes that hang as a whole, so that they are replaced. Counted in looks, not in seconds: a machine
        that was suspended is no reason."""
        if time.monotonic() < self._look_s:
            return
        self._look_s = time.monotonic() + _LOOK_S
        for child in self._children:
            if child.serves and child.count_silence() == _MAX_SILENT_LOOKS:
                log.error("process %d (%d) has not answered for %g s; it is killed", child.place + 1, child.pid,
                          _MAX_SILENT_LOOKS * _LOOK_S)  # fmt: skip
                child.kill()

    def _told(self, child: Child, kind: str, value: Any) -> object:  # noqa: ANN401 - as it was sent
        """What a child's own thread hears."""
        if kind == "page":
            return self._pages.submit(self._figures.page)
        handlers: dict[str, Callable[[Child, Any], None]] = {
            "serving": self._on_serving, "health": self._on_health, "trials": self._on_trials,
            "decision": self._on_decision, "ended": self._on_end,
        }  # fmt: skip
        self._events.put(lambda: handlers[kind](child, value))
        return None

    def _on_serving(self, child: Child, facts: dict[str, Any]) -> None:
        child.serves = True
        self._restarts.served()
        if not self._is_complete:
            for place in self._due_s:  # those behind the first
                if not any(each.place == place for each in self._children):
                    self._due_s[place] = 0.0
            if sum(each.takes_calls for each in self._children) == self._config.processes:
                self._complete(facts)
        self._show_health()

    def _complete(self, facts: dict[str, Any]) -> None:
        """Tells people and programs that the server is there."""
        self._is_complete = True
        config, device = self._config, facts["device"]
        each = f"{facts['memory_bytes'] / 2**20:.0f} MiB"
        log.info(
            "ready: %d processes (%s), each with a copy of its own of %d model(s), which took %s to load%s",
            config.processes, ", ".join(str(child.pid) for child in self._children), facts["models"], each,
            "" if device == "cpu" else f", beside what they take of {device}",
        )  # fmt: skip
        http_port = self._ports.http if config.http else None
        line = serving.ready_line(config, self._ports.grpc, self._metrics.port, http_port)
        unwritten = standard_output.write(lambda: print(line))
        if unwritten:
            self._stop(unwritten)

    def _on_health(self, child: Child, health: dict[str, bool]) -> None:
        child.works, child.is_leaving = health["works"], child.serves and not health["serving"]
        self._show_health()

    def _on_trials(self, child: Child, trials: list[tuple[str, str, int, int]]) -> None:
        child.trials = trials

    def _on_decision(self, child: Child, decision: list[object]) -> None:
        for other in self._children:
            if other is not child:
                other.tell_decision(decision)

    def _on_end(self, child: Child, code: int) -> None:
        self._figures.end(child, lambda: self._children.remove(child))
        if self._exit_code is not None:
            if child.serves and code and not self._exit_code:
                self._exit_code = code if code > 0 else 1
            return
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        if code:
            self._roll_back(child, how)
        if not self._is_complete:
            log.error("process %d ended %s before the server was ready", child.place + 1, how)
            self._stop(code if code > 0 else 1)
            return
        level = logging.ERROR if code else logging.WARNING  # somebody stopped it
        log.log(level, "process %d (%d) ended %s; the others go on", child.place + 1, child.pid, how)
        self._again(child.place, time.monotonic() - child.began_s, served=child.serves, code=code)
        self._show_health()

    def _roll_back(self, child: Child, how: str) -> None:
        """Ends the canaries of a process that died, for the others and for the next one: they may be why."""
        for folder, name, version, served in child.trials:
            why = f"process {child.place + 1} ({child.pid}), in which it ran, ended {how}"
            try:
                if choice_files.roll_back_canary(Path(folder), name, version, served):
                    log.error("model %s: the canary, version %d, is rolled back: %s", name, version, why)
                    self._on_decision(child, [name, version, served, "rolled_back", why])
            except OSError as error:
                log.error(
                    "model %s: the canary, version %d, is not rolled back, though %s: the models folder cannot be "
                    "written (%s). By hand: %s",
                    name, version, why, error.strerror or error, choice_files.by_hand(Path(folder), name, served),
                )  # fmt: skip

    def _again(self, place: int, ran_s: float, *, served: bool, code: int) -> None:
        """Has a place filled again, or gives up."""
        delay_s = self._restarts.delay_s(place, ran_s, served=served)
        if self._restarts.is_hopeless and not any(child.serves for child in self._children):
            log.error(
                "giving up: no process serves, and %d starts in a row have failed; the log says why", MAX_FAILED_STARTS
            )
            self._stop(code if code > 0 else 1)
            return
        if delay_s:
            log.warning("process %d is started again in %g s", place + 1, delay_s)
        self._due_s[place] = time.monotonic() + delay_s

    def _stop(self, code: int) -> None:
        if self._exit_code is None:
            self._exit_code = code

    def _show_health(self, wait_s: float = 0.0) -> None:
        """Has all processes tell what holds for the server as a whole: their health services answer callers, who may
        reach any of them. One that is being replaced takes no calls, so it does not count."""
        present = [child for child in self._children if child.serves]
        self._health.works = all(child.works for child in present)
        self._health.serving = (
            self._is_complete and self._exit_code is None and any(child.takes_calls for child in present)
        )
        told = [child.show(live=self._health.live, ready=self._health.ready) for child in present]
        if wait_s:
            wait(told, wait_s)

    def _drain(self) -> int:
        """All processes become not ready, then refuse, answer what they accepted, and end. Returns the exit code."""
        log.info("stopping: %d processes", len(self._children))
        self._show_health(_SHOWN_S)
        for child in self._children:
            child.stop()
        give_up = time.monotonic() + self._config.drain_delay_s + self._config.drain_timeout_s + _END_S
        while self._children and self._next(give_up):
            pass
        if self._children:
            log.error("%d processes did not end in time and are killed", len(self._children))
            return self._exit_code or 1
        return self._exit_code or 0

    def _kill_all(self) -> None:
        for child in list(self._children):
            child.kill()


def supervise(config: Config) -> int:
    """Serves by several processes. Returns the exit code. Raises StartupError."""
    log.info("parent %d starts %d processes; each takes a share of the connections", os.getpid(), config.processes)
    return Supervisor(config).run()
