"""One process that serves: from its settings to its exit code."""

from __future__ import annotations

import gc
import itertools
import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from covey_proto import program
from covey_server.config import Config, Port
from covey_server.errors import InvalidConfiguration, PortUnavailable, StartupError
from covey_server.fronts.security import logs
from covey_server.observability import log_lines
from covey_server.system import memory, open_files, ports
from covey_server.system.signals import INTERRUPTED, StopSignals

if TYPE_CHECKING:
    from covey_server.app import App
    from covey_server.processes.siblings import Siblings

log = logging.getLogger(__name__)


def prepare() -> None:
    """Sets what holds for the whole process. To be called once, before there are threads."""
    logs.leave_out_headers()
    memory.bound_freed_memory()
    open_files.raise_limit()


def explained(run: Callable[[], int]) -> int:
    """The exit code of `run`, and of what keeps a server from starting, with the reason on standard error."""
    try:
        return run()
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("covey"):
            raise
        log_lines.flush()
        program.print_error(
            f"the package {error.name!r} is not installed; this needs the server's extra: "
            f"pip install 'covey-serve[cpu]', or 'covey-serve[gpu]' for CUDA",
            program.SERVER,
        )
        return InvalidConfiguration.exit_code
    except StartupError as error:
        log_lines.flush()
        program.print_error(str(error), program.SERVER)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED


def with_all_taken_ports(config: Config, run: Callable[[], int]) -> int:
    """`run`; where it fails because a port is taken, as beside another server, the error also names the ports still
    to be opened that are taken: one attempt shows all."""
    try:
        return run()
    except PortUnavailable as error:
        message = str(error)
        behind = [*itertools.dropwhile(lambda port: not message.startswith(port.purpose), config.ports)][1:]
        taken = [f"{port.address} ({port.purpose}: {port.option})" for port in behind if not _is_free(port)]
        if not taken:
            raise
        raise PortUnavailable(f"{message}. Taken too: {' and '.join(taken)}") from error


def _is_free(port: Port) -> bool:
    try:
        ports.require_free(port.address)
    except OSError:
        return False
    return True


def ready_line(config: Config, grpc_port: int, metrics_port: int, http_port: int | None) -> str:
    """For programs that start a server (with port 0, say); the log is for people."""
    http = "" if http_port is None else f" http={config.address(http_port)}"
    return f"covey-server ready grpc={config.address(grpc_port)} metrics={config.metrics_address(metrics_port)}{http}"


def serve(config: Config, announce: Callable[[App], int], siblings: Siblings | None = None) -> int:
    """Serves until SIGTERM, SIGINT or SIGHUP, or until the parent says so; a second signal ends the process at once.
    `announce` is called once calls are taken; unless it returns 0 the server stops, and that is its exit code. Raises
    StartupError."""
    from covey_server.app import App  # here, so that --help and wrong flags do not wait for onnxruntime

    app = App(config, siblings)
    signals = StopSignals(app.abandon)
    if siblings is not None:
        siblings.stop = signals.stop
    # All objects there are now live until the end. Without this the garbage collector walks them again and again, for
    # milliseconds in the middle of requests.
    gc.collect()
    gc.freeze()
    app.start()
    failed = announce(app)
    if not failed:
        signals.wait()
    exit_code = failed if app.stop() and not app.hangs else 1
    if app.hangs or app.work_left:  # the interpreter cannot end while a thread is inside onnxruntime
        if app.hangs:
            log.error("a batch still runs and would keep this process; it is left behind")
        else:
            log.warning("the server ends without waiting any longer for: %s", ", ".join(app.work_left))
        logging.shutdown()
        os._exit(exit_code)
    return exit_code
