"""The command `covey-server`: flags and environment -> Config -> App, and the signals that stop it."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from covey_server import config as configuration
from covey_server import first_look
from covey_server.config import Config
from covey_server.errors import InvalidConfiguration, StartupError
from covey_server.fronts.security import logs
from covey_server.system import memory, open_files, standard_output, threads
from covey_server.system.signals import INTERRUPTED, StopSignals

if TYPE_CHECKING:
    from covey_server.app import App

log = logging.getLogger(__name__)


def main() -> int:
    """Serves until SIGTERM or SIGINT; a second one ends the process at once. Returns the exit code."""
    try:
        if sys.argv[1:2] == [first_look.COMMAND]:
            with first_look.FirstLook(sys.argv[2:], os.environ) as look:
                return _serve(look.config, look.served)
        return _serve(lambda: configuration.parse(None, os.environ))
    except SystemExit as ended:  # of --help, --version and wrong flags
        code = ended.code if isinstance(ended.code, int) else 0
        return standard_output.write(lambda: code)
    except RuntimeError as error:
        if not threads.is_none_left(error):
            raise
        print(f"covey-server: {error}: {threads.ADVICE}", file=sys.stderr, flush=True)
        os._exit(StartupError.exit_code)  # no orderly end: that would need threads


def _serve(configure: Callable[[], Config], served: Callable[[App], None] = lambda _: None) -> int:
    """`configure` is called first, `served` once models are served and callers were told so."""
    try:
        if os.getpid() == 1:  # the kernel drops SIGTERM for process 1 (in a container) until it has a handler
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        config = configure()
        logging.basicConfig(
            level=config.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
        )
        if config.probe:
            from covey_server.probe import probe

            return probe(config)
        logs.leave_out_headers()
        memory.bound_freed_memory()
        open_files.raise_limit()
        # Imported here, so that --help and wrong flags do not wait for onnxruntime.
        from covey_server.app import App

        if config.check:
            from covey_server.check import print_findings

            return standard_output.write(lambda: print_findings(config, sys.stdout))
        app = App(config)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("covey"):
            raise
        print(
            f"covey-server: the package {error.name!r} is not installed; the server needs its extra: "
            f"pip install 'covey-serve[cpu]', or 'covey-serve[gpu]' for CUDA",
            file=sys.stderr,
        )
        return InvalidConfiguration.exit_code
    except StartupError as error:
        print(f"covey-server: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    signals = StopSignals(app.abandon)
    # All objects there are now live until the end. Without this the garbage collector walks them again and again, for
    # milliseconds in the middle of requests.
    gc.collect()
    gc.freeze()
    app.start()
    # For programs that start a server (with port 0, say); the log is for people.
    grpc_address, metrics_address = config.address(app.front.port), config.metrics_address(app.metrics_port)
    http = "" if app.http is None else f" http={config.address(app.http.port)}"
    unwritten = standard_output.write(
        lambda: print(f"covey-server ready grpc={grpc_address} metrics={metrics_address}{http}")
    ) or standard_output.write(lambda: served(app))
    if not unwritten:
        signals.wait()
    exit_code = unwritten if app.stop() and not app.hangs else 1
    if app.hangs or app.loads:  # the interpreter cannot end while a thread is inside onnxruntime
        if app.hangs:
            log.error("a batch still runs and would keep this process; it is left behind")
        else:
            log.warning("a model is still being loaded; that is given up")
        logging.shutdown()
        os._exit(exit_code)
    return exit_code


if __name__ == "__main__":
    raise SystemExit(main())
