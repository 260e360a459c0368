"""`python3 -m deploy.edge`: runs nginx before Covey, and has it read its configuration anew when the certificate, the
tokens or the servers' addresses change. SIGTERM ends it once the calls that are open have ended, at most 25 s later.

Exit codes: 0 stopped as asked, 2 a setting or file that cannot be used, else nginx's own.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from deploy.edge.figures import Figures, expiry_s
from deploy.edge.rendering import read_tokens, render
from deploy.edge.settings import InvalidSetting, Settings, unknown

_LOOK_S = 1.0
_STOP_S = 25.0
_Look = tuple[tuple[tuple[int, int, int] | None, ...], tuple[str, ...]]


class Edge:
    """One nginx, and what it was configured from."""

    def __init__(self, settings: Settings) -> None:
        """Starts nginx. Raises InvalidSetting where a file cannot be used, or the servers' name is not known."""
        self._settings = settings
        settings.folder.mkdir(parents=True, exist_ok=True)
        self._configuration = settings.folder / "nginx.conf"
        self._figures = Figures(settings.folder / "refused.log", settings.folder / "metrics.txt")
        self._last = self._taken = self._refused = self._look(())
        if not self._taken[1]:
            raise InvalidSetting(f"COVEY_EDGE_SERVER={settings.server}: the name is not known; expected HOST:PORT")
        self._expires_s = self._configure(self._taken[1])
        self._figures.write(self._expires_s)
        self._nginx = subprocess.Popen(["nginx", "-e", "stderr", "-c", str(self._configuration)])

    @property
    def exit_code(self) -> int | None:
        """nginx's, once it has ended."""
        return self._nginx.poll()

    def refresh(self) -> None:
        """Takes up what changed, once two looks one after the other have found the same; where it cannot be used, says
        so once and leaves nginx as it is."""
        self._figures.write(self._expires_s)
        look = self._look(self._taken[1])
        rests, self._last = look == self._last, look
        if not rests or look in (self._taken, self._refused):
            return
        try:
            self._expires_s = self._configure(look[1])
        except InvalidSetting as error:
            _say(f"{error}; what was read before stays in use")
            self._refused = look
            return
        self._taken = look
        self._nginx.send_signal(signal.SIGHUP)
        _say(f"configured anew: {len(look[1])} server(s), certificate valid until {_date(self._expires_s)}")

    def stop(self) -> int:
        """Takes no new connections, waits for the calls that are open. nginx's exit code."""
        self._nginx.send_signal(signal.SIGQUIT)
        try:
            return self._nginx.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._nginx.terminate()
            return self._nginx.wait()

    def _look(self, otherwise: tuple[str, ...]) -> _Look:
        """The states of the files, and the servers' addresses: `otherwise` while the name is not known."""
        settings = self._settings
        paths = (settings.certificate, settings.key, settings.client_ca, settings.token_file)
        host, _, port = settings.server.rpartition(":")
        try:
            found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        except OSError:
            addresses = otherwise
        else:
            hosts = {str(address[0]) for *_, address in found}
            addresses = tuple(sorted(f"[{each}]" if ":" in each else each for each in hosts))
        return tuple(_state(path) for path in paths if path is not None), addresses

    def _configure(self, servers: tuple[str, ...]) -> float:
        """Writes nginx.conf and tries it; it stays as it was where that fails. When the certificate expires."""
        settings = self._settings
        expires_s = expiry_s(settings.certificate)
        if expires_s <= time.time():
            raise InvalidSetting(f"{settings.certificate}: it expired on {_date(expires_s)}; renew it")
        tokens = read_tokens(settings.token_file) if settings.token_file is not None else None
        tried = self._configuration.with_suffix(".tried")
        tried.touch(mode=0o600)  # tokens are in it
        tried.write_text(render(settings, servers, tokens))
        done = subprocess.run(
            ["nginx", "-t", "-q", "-e", "stderr", "-c", str(tried)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise InvalidSetting(f"nginx refuses its configuration: {done.stderr.strip()}")
        tried.replace(self._configuration)
        return expires_s


def main(environment: Mapping[str, str]) -> int:
    """Runs until SIGTERM or SIGINT, or until nginx ends."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _, __: ended.set())
    try:
        for each in unknown(environment):
            _say(each)
        settings = Settings.of(environment)
        edge = Edge(settings)
    except InvalidSetting as error:
        _say(str(error))
        return 2
    _say(f"listening on {settings.listen}, /metrics and /readyz on {settings.status_listen}")
    while not ended.wait(_LOOK_S):
        if edge.exit_code is not None:
            return edge.exit_code or 1
        edge.refresh()
    return edge.stop()


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size, state.st_ino


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def _say(text: str) -> None:
    print(f"covey-edge: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(os.environ))
