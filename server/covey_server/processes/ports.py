"""The ports that the processes share, held by the parent while processes come and go."""

from __future__ import annotations

import contextlib

from covey_server.config import Config
from covey_server.errors import PortUnavailable
from covey_server.system.ports import ReservedPort


class Ports:
    """The ports of gRPC and HTTP. Nobody else gets them while no process listens there."""

    def __init__(self, config: Config) -> None:
        """Raises PortUnavailable."""
        with contextlib.ExitStack() as undo:
            grpc = _reserved("gRPC", config.host, config.grpc_port, "choose others with --host and --grpc-port")
            undo.callback(grpc.close)
            self.grpc, self.http = grpc.port, config.http_port
            self._held = [grpc]
            if config.http:
                advice = "choose others with --host and --http-port, or use --no-http"
                http = _reserved("HTTP", config.host, config.http_port_to_open, advice)
                self.http = http.port
                self._held.append(http)
            undo.pop_all()

    def close(self) -> None:
        """Gives them up."""
        for each in self._held:
            each.close()


def _reserved(what: str, host: str, port: int, advice: str) -> ReservedPort:
    try:
        return ReservedPort(host, port)
    except OSError as error:
        raise PortUnavailable(f"{what} cannot listen on {host}:{port}: {error.strerror or error}; {advice}") from error
