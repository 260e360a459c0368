"""The command `covey-server`: flags and environment -> Config -> App, and the signals that stop it."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from types import FrameType

from covey_server import config as configuration
from covey_server.errors import InvalidConfiguration, StartupError

_FORCED = 130


def main() -> int:
    """Serves until SIGTERM or SIGINT; a second one ends the process at once. Answers the exit code."""
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(_FORCED)
        stop.set()

    try:
        config = configuration.parse(None, os.environ)
        logging.basicConfig(
            level=config.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
        )
        from covey_server.app import App  # here, so that --help and a wrong flag do not wait for onnxruntime

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, on_signal)
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
    app.start()
    # For programs that start a server, with port 0 above all; the log is for people.
    host = config.host
    print(f"covey-server ready grpc={host}:{app.front.port} metrics={host}:{app.metrics_port}", flush=True)
    stop.wait()
    return 0 if app.stop() else 1


if __name__ == "__main__":
    raise SystemExit(main())
