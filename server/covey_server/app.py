"""Builds every object of a server in order, and takes them down again. The only file that knows them all."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server

from covey_server import devices, engine
from covey_server.batching.admission import Admission
from covey_server.batching.batcher import Batcher
from covey_server.call import Service
from covey_server.classifier import Classifier
from covey_server.config import Config
from covey_server.decoding import DecodePool
from covey_server.engine import Engine
from covey_server.errors import InvalidConfiguration, PortUnavailable
from covey_server.fronts import Front
from covey_server.fronts.grpcio import GrpcioFront
from covey_server.metrics import Metrics
from covey_server.repository import Repository
from covey_server.worker import Workers

log = logging.getLogger(__name__)

_FLUSH_S = 5.0  # for answers that were given to get onto the wire


class App:
    """One server. `start`, then `stop`; several can live in one process."""

    def __init__(self, config: Config) -> None:
        """Loads and checks the models and binds the ports. Raises StartupError."""
        self.config = config
        devices.refuse_mixed_installation()
        self.device = devices.choose(config.device, engine.available_providers(), engine.probe)
        cores = devices.usable_cores()
        workers = config.workers or cores
        log.info(
            "device %s, %d cores, %d workers, %d threads each",
            self.device.name,
            cores,
            workers,
            config.threads,
        )
        if self.device.fallback:
            log.warning("running on %s in place of CUDA: %s", self.device.name, self.device.fallback)

        start_engine = partial(Engine, device=self.device, threads=config.threads)
        self.repository = Repository(config.models, start_engine, config.max_batch_size)
        self.repository.load(config.default_model)

        self._batcher = Batcher()
        self._admission = Admission(config.max_calls, config.max_bytes, config.max_message_bytes)
        self.registry = CollectorRegistry()
        self._metrics = Metrics(self.registry, self._batcher.waiting_images)
        for model in self.repository.served:
            self._metrics.add_model(model, model.name, model.version, model.engine.device.name)
        self._metrics.show_server(
            calls_in_flight=lambda: self._admission.calls,
            bytes_in_flight=lambda: self._admission.bytes,
            models_refused=lambda: len(self.repository.refusals),
            device_fallback=lambda: bool(self.device.fallback),
        )
        self._workers = Workers(self._batcher, workers, self._metrics)
        self._decoders = DecodePool(cores, config.max_image_pixels)
        classifier = Classifier(
            self.repository,
            self._admission,
            self._batcher,
            self._decoders,
            self._metrics,
            workers=workers,
            default_deadline_ms=config.default_deadline_ms,
        )
        self.front = _open_front(config, classifier)
        try:
            self._metrics_server, self._metrics_thread = self._open_metrics()
        except BaseException:
            self.front.stop(flush_s=0)
            raise
        self.metrics_port: int = self._metrics_server.server_port

    def start(self) -> None:
        """Serves from now on: the models are loaded, checked and warm."""
        self._workers.start()
        self.front.start()
        self.front.set_ready(True)
        address = self.config.address
        log.info(
            "ready: %d model(s) on %s; gRPC on %s (%s front), metrics on http://%s/metrics",
            len(self.repository.served), self.device.name, address(self.front.port), self.front.name,
            address(self.metrics_port),
        )  # fmt: skip

    def stop(self) -> bool:
        """Not ready, refuse what is new, answer what was accepted, close. False where time ran out before that."""
        began = time.monotonic()
        log.info("stopping: %d calls to answer first", self._admission.calls)
        self.front.set_ready(False)
        self._admission.close()
        drained = self._admission.wait_until_empty(self.config.drain_timeout_s)
        if not drained:
            log.error("%d calls are unanswered after %g s", self._admission.calls, self.config.drain_timeout_s)
        self._batcher.close()
        self._decoders.close()
        self.front.stop(_FLUSH_S if drained else 0)
        self._workers.join(_FLUSH_S if drained else 0)
        self._metrics_server.shutdown()
        self._metrics_server.server_close()
        self._metrics_thread.join()
        log.info("stopped after %.0f ms", (time.monotonic() - began) * 1e3)
        return drained

    def _open_metrics(self) -> tuple[WSGIServer, threading.Thread]:
        host, port = self.config.host, self.config.metrics_port
        try:
            return start_http_server(port, host, self.registry)
        except OSError as error:
            raise PortUnavailable(
                f"metrics cannot listen on {host}:{port}: {error.strerror}; choose others with --host and "
                f"--metrics-port"
            ) from error


def _open_front(config: Config, classifier: Classifier) -> Front:
    service = classifier.service
    kind: Callable[[str, Sequence[Service], Sequence[str], int], Front] = GrpcioFront
    if config.front != "grpcio":
        try:
            from covey_server.fronts.native import NativeFront

            kind = NativeFront
        except ImportError as error:
            if config.front == "native":
                raise InvalidConfiguration(
                    f"--front native: {error}; install pygrpc-native, or use --front grpcio"
                ) from error
            log.warning(
                "the native front is not there (%s); serving with grpcio, which costs several times more",
                error,
            )
    return kind(config.address(config.grpc_port), (service,), (service.name,), config.max_message_bytes)
