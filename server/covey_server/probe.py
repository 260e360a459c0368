"""`covey-server --probe`: asks the running server of the same settings whether it is ready. For containers.

It asks gRPC's standard health service or, if the server has TLS or tokens, /readyz, which needs neither.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from covey_proto import program
from covey_server.config import Config

_TIMEOUT_S = 3.0
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # a server that listens on all addresses is asked on this machine


def probe(config: Config) -> int:
    """Returns the exit code: 0 if the server is ready, else 1; the reason goes to standard error."""
    host = _LOOPBACK.get(config.host, config.host)
    metrics_host = _LOOPBACK.get(config.metrics_host, config.metrics_host)  # empty: host's
    asked = replace(config, host=host, metrics_host=metrics_host)
    try:
        guarded = config.tls_certificate or config.auth_token_file
        is_ready = _is_ready_by_http(asked) if guarded else _is_ready_by_health(asked)
    except grpc.RpcError as error:
        return _fail(f"{asked.address(config.grpc_port)} did not answer: {error.code().name}: {error.details()}")
    except OSError as error:
        return _fail(f"{asked.metrics_address(config.metrics_port)} did not answer: {error}")
    return 0 if is_ready else _fail("the server runs and is not ready")


def _is_ready_by_health(config: Config) -> bool:
    with grpc.insecure_channel(config.address(config.grpc_port), [("grpc.enable_http_proxy", 0)]) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT_S)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _is_ready_by_http(config: Config) -> bool:
    import http.client  # only where needed: a probe runs every few seconds

    host = config.metrics_host or config.host
    connection = http.client.HTTPConnection(host, config.metrics_port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except http.client.HTTPException as error:
        raise OSError(f"no HTTP server: {error!r}") from error
    finally:
        connection.close()
    if status not in (http.HTTPStatus.OK, http.HTTPStatus.SERVICE_UNAVAILABLE):
        raise OSError(f"/readyz answered {status}: no Covey server listens there")
    return status == http.HTTPStatus.OK


def _fail(message: str) -> int:
    print(f"{program.words(program.SERVER)} --probe: {message}", file=sys.stderr)
    return 1
