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

from bench.processes import READY, BenchError, first_line, own_process, tail

# The first that exists is used: version 1's memory controller, or version 2's unified tree.
_CGROUPS = (
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
    (Path("/sys/fs/cgroup"), "memory.max", "memory.swap.max"),
)


class LimitedServer:
    """A server of which the peak of memory, and whether it lives, can be asked."""

    def __init__(self, process: subprocess.Popen[str], grpc_port: int, metrics_port: int, log: Path) -> None:
        self.grpc_port = grpc_port
        self.metrics_port = metrics_port
        self.log = log
        self._process = process
        self._peak_kb = 0

    @property
    def pid(self) -> int:
        return self._process.pid

    def verdict(self) -> str:
        """ "alive", or how it ended."""
        code = self._process.poll()
        return "alive" if code is None else f"dead (exit {code})"

    def resident_mb(self) -> int:
        """Resident memory now; 0 where it is dead."""
        return self._status("VmRSS:") // 1024

    def peak_mb(self) -> int:
        """The most it ever was, as far as the kernel could still be asked."""
        self._peak_kb = max(self._peak_kb, self._status("VmHWM:"))
        return self._peak_kb // 1024

    def _status(self, name: str) -> int:
        try:
            lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        except FileNotFoundError:
            return 0
        return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)


@contextmanager
def limited_server(
    checkout: Path, models: Path, folder: Path, limit_bytes: int, flags: Sequence[str], soft_files: int = 0
) -> Iterator[LimitedServer]:
    """A server of a checkout's code with at most `limit_bytes` of memory and no swap. Needs root where a limit is
    asked for (0: none). `soft_files`: its soft limit of open files.

    Raises BenchError where it does not start, or no cgroup can be made.
    """
    log = folder / "server.log"
    roots = [str(checkout / each) for each in ("clients", "export", "proto", "server")]
    command = [sys.executable, "-m", "covey_server", "--models", str(models), "--grpc-port", "0", *flags]
    command += ["--metrics-port", "0"]
    if soft_files:
        command = ["bash", "-c", f'ulimit -Sn {soft_files}; exec "$@"', "bash", *command]
    with memory_group(limit_bytes) as enter:
        if enter:
            command = ["bash", "-c", f'echo $$ > {enter}; exec "$@"', "bash", *command]
        with own_process(command, log, {"PYTHONPATH": os.pathsep.join(roots)}) as process:
            ports = READY.match(first_line(process, "covey-server", log))
            if ports is None:
                raise BenchError(f"covey-server did not start:\n{tail(log)}")
            grpc_port, metrics_port = (int(ports[name].rpartition(":")[2]) for name in ("grpc", "metrics"))
            yield LimitedServer(process, grpc_port, metrics_port, log)


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
