"""Owns the server under attack: a process in a memory cgroup of its own, of this checkout or of another."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.processes import BenchError, Server, peak_bytes, started_server

# The first that exists is used: version 1's memory controller, or version 2's unified tree.
_CGROUPS = (
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
    (Path("/sys/fs/cgroup"), "memory.max", "memory.swap.max"),
)


class LimitedServer(Server):
    """A server that can be asked for its peak memory and whether it is alive."""

    def __init__(self, process: subprocess.Popen[str], target: str, metrics_port: int, http_target: str) -> None:
        super().__init__("covey-server", process, target, None, http_target=http_target)
        self.metrics_port = metrics_port
        self._peak_bytes = 0

    @property
    def over_http(self) -> Server:
        """The same server, for loads that call it over HTTP."""
        return Server(self.name, self._process, self.http_target, None, http_target=self.http_target)

    def verdict(self) -> str:
        """ "alive", or how it ended."""
        code = self._process.poll()
        return "alive" if code is None else f"dead (exit {code})"

    def resident_mb(self) -> int:
        """Resident memory now; 0 where it is dead."""
        return self.resident_bytes() >> 20 if self.is_running else 0

    def peak_mb(self) -> int:
        """The peak memory, as far as the kernel could still be asked."""
        self._peak_bytes = max(self._peak_bytes, peak_bytes(self.pid))
        return self._peak_bytes >> 20


@contextmanager
def limited_server(
    checkout: Path, models: Path, folder: Path, limit_bytes: int, flags: Sequence[str], soft_files: int = 0
) -> Iterator[LimitedServer]:
    """A server of a checkout's code with at most `limit_bytes` of memory and no swap. Needs root where a limit is
    asked for (0: none). `soft_files`: its soft limit of open files.

    Raises BenchError where it does not start, or no cgroup can be made.
    """
    log = folder / "server.log"
    roots = [str(checkout / package) for package in ("clients", "export", "proto", "server")]
    command = [sys.executable, "-m", "covey_server", "--models", str(models), "--grpc-port", "0", *flags]
    command += ["--metrics-port", "0"]
    if soft_files:
        command = ["bash", "-c", f'ulimit -Sn {soft_files}; exec "$@"', "bash", *command]
    with memory_group(limit_bytes) as enter:
        if enter:
            command = ["bash", "-c", f'echo $$ > {enter}; exec "$@"', "bash", *command]
        environment = {"PYTHONPATH": os.pathsep.join(roots)}
        with started_server(command, log, environment) as (process, grpc_target, metrics_target, http_target):
            yield LimitedServer(process, grpc_target, int(metrics_target.rpartition(":")[2]), http_target)


@contextmanager
def memory_group(limit_bytes: int) -> Iterator[str]:
    """A cgroup of that limit; gives the file that takes the process ids of its members, "" where there is no limit."""
    if not limit_bytes:
        yield ""
        return
    for root, limit, swap in _CGROUPS:
        if not (root / limit).exists() and not (root / "cgroup.controllers").exists():
            continue
        group = root / f"covey-attack-{os.getpid()}"
        try:
            group.mkdir()
            (group / limit).write_text(str(limit_bytes))
            with contextlib.suppress(OSError):  # where the kernel does not count swap
                (group / swap).write_text(str(limit_bytes if swap.endswith("in_bytes") else 0))
        except OSError as error:
            raise BenchError(
                f"no memory cgroup can be made in {root} ({error}); run as root, or with --limit-mb 0"
            ) from error
        try:
            yield str(group / "cgroup.procs")
        finally:
            for _ in range(100):
                try:
                    group.rmdir()
                    break
                except OSError:  # a process of it is still ending
                    time.sleep(0.05)
        return
    raise BenchError("no memory cgroup is mounted; run with --limit-mb 0")
