"""HTTP as another way to the services that gRPC has: bodies and paths become their messages, and their answers become
JSON. What a request means, and every limit on it, is decided by these services; this folder knows none of them but
their messages."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from covey_server.calls.http import Route
from covey_server.calls.service import Services
from covey_server.observability.health import Health
from covey_server.protocols.rest.classify import ClassifyRoutes
from covey_server.protocols.rest.inference import InferenceRoutes
from covey_server.protocols.rest.openapi import OpenApiRoute
from covey_server.protocols.rest.operations import OperationRoutes
from covey_server.protocols.rest.torchserve import TorchServeRoutes

_CLASSIFIER, _OPEN_INFERENCE = "covey.v1.Classifier", "inference.GRPCInferenceService"


class Rest:
    """All routes."""

    def __init__(self, services: Services, health: Health, registry: CollectorRegistry) -> None:
        handlers = {service.name: service.handlers for service in services.all}
        classifier = handlers[_CLASSIFIER]
        self._operations = OperationRoutes(health, registry)
        self.routes: tuple[Route, ...] = (
            *ClassifyRoutes(classifier).routes,
            *InferenceRoutes(handlers[_OPEN_INFERENCE]).routes,
            *TorchServeRoutes(classifier["Classify"], health).routes,
            *self._operations.routes,
            *OpenApiRoute().routes,
        )

    def close(self) -> None:
        """Ends its thread."""
        self._operations.close()
