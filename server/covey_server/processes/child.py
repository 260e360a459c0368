"""One process, as the parent sees it: starts it, keeps what it tells, and notices its end."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from covey_server.processes.channel import Channel
from covey_server.processes.merging import Plain

Told = Callable[["Child", str, Any], object]  # what a process tells: kind and value; "ended" with its exit code is ours


class Child:
    """A process from its start to its end. `told` is called by a thread of the child's own."""

    def __init__(self, place: int, beginning: dict[str, Any], told: Told) -> None:
        """Starts it, and sends it `beginning`. Raises OSError where no process can be started."""
        self.place = place
        self.began_s = time.monotonic()
        self.serves = False  # from when it takes calls
        self.is_leaving = False  # from when it takes no more
        self.works = True  # no batch hangs
        self.trials: list[tuple[str, str, int, int]] = []  # the canaries that run in it, as trial.OnTrial
        self.figures: Plain = []  # as it told them last
        self._asked: Future[Plain] | None = None
        self._answer_to_look: Future[Any] | None = None
        self._silence = 0
        self._asking = threading.Lock()
        self._told = told
        ours, theirs = socket.socketpair()
        try:
            # In a group of its own: Ctrl-C reaches the parent alone, which drains all.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "covey_server.processes.member", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                process_group=0,
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self.pid = self._process.pid
        self._channel = Channel(ours, self._handle)
        self._channel.send("begin", beginning)
        threading.Thread(target=self._follow, name=f"process-{place + 1}", daemon=True).start()

    @property
    def takes_calls(self) -> bool:
        """Whether it listens and has not begun to stop."""
        return self.serves and not self.is_leaving

    def show(self, *, live: bool, ready: bool) -> Future[Any]:
        """Tells it how the whole server is; the answer comes once its own health services say so."""
        return self._channel.ask("health", {"live": live, "ready": ready})

    def tell_decision(self, decision: Sequence[object]) -> None:
        """Tells it what was decided about a canary: a trial.Decision."""
        self._channel.send("decision", decision)

    def ask_figures(self) -> Future[Plain]:
        """Its metrics, to come; `figures` keeps them. One that did not answer yet is not asked again."""
        with self._asking:
            if self._asked is None or self._asked.done():
                self._asked = self._channel.ask("figures")
                self._asked.add_done_callback(self._keep)
            return self._asked

    def count_silence(self) -> int:
        """To be called regularly: how many times in a row it has not answered meanwhile."""
        if self._answer_to_look is None or self._answer_to_look.done():
            self._silence = 0
            self._answer_to_look = self._channel.ask("look")
        else:
            self._silence += 1
        return self._silence

    def stop(self) -> None:
        """Lets it answer what it accepted, and end; one that takes no calls yet ends at once."""
        self._channel.send("stop")

    def kill(self) -> None:
        """Ends it at once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)

    def _keep(self, answer: Future[Plain]) -> None:
        if answer.exception() is None:
            self.figures = answer.result()

    def _handle(self, kind: str, value: Any) -> object:  # noqa: ANN401 - as it was sent
        if kind == "figures":
            self.figures = value
            return None
        return self._told(self, kind, value)

    def _follow(self) -> None:
        self._channel.run()
        code = self._process.wait()
        self._told(self, "ended", code)
