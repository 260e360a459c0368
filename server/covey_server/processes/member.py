"""One process of several: `python -m covey_server.processes.member FILE_NUMBER`, started by the parent, which sends the
settings over the socket of that number."""

from __future__ import annotations

import socket
import sys

from covey_server import serving
from covey_server.app import App
from covey_server.observability import log_lines
from covey_server.processes import shares
from covey_server.processes.siblings import Siblings


def main() -> int:
    """Serves until the parent says stop or is gone, or a signal comes. Returns the exit code."""
    siblings = Siblings(socket.socket(fileno=int(sys.argv[1])))
    try:
        beginning = siblings.receive()
    except ConnectionError:  # the parent has gone meanwhile
        return 1
    config = shares.from_message(beginning["config"])
    siblings.metrics_port = beginning["metrics_port"]
    log_lines.log_to_standard_error(config.log_level, config.log_format, beginning["number"])
    serving.prepare()
    siblings.start()

    def announce(app: App) -> int:
        served = app.repository.catalog.served
        siblings.tell_serving(
            {
                "models": len(served),
                "memory_bytes": sum(model.memory_bytes for model in served),
                "device": app.device.name,
            }
        )
        return 0

    return serving.explained(lambda: serving.serve(config, announce, siblings))


if __name__ == "__main__":
    raise SystemExit(main())
