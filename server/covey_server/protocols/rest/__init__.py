"""HTTP as another way to the services that gRPC has: bodies and paths become their messages, and their answers become
JSON; or both are messages as they are. What a request means, and every limit on it, is decided by these services; this
folder knows none of them but their messages."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from covey_server.calls.http import Route
from covey_server.calls.service import Services
from covey_server.observability.health import Health
from covey_server.protocols.rest.classify import ClassifyRoutes
from covey_server.protocols.rest.inference import InferenceRoutes
from covey_server.protocols.rest.large_bodies import LargeBodies
from covey_server.protocols.rest.openapi import OpenApiRoute
from covey_server.protocols.rest.operations import OperationRoutes
from covey_server.protocols.rest.protobuf import ProtobufRoutes
from covey_server.protocols.rest.torchserve import TorchServeRoutes

_CLASSIFIER, _OPEN_INFERENCE = "covey.v1.Classifier", "inference.GRPCInferenceService"


class Rest:
    """All routes."""

    def __init__(self, services: Services, health: Health, registry: CollectorRegistry, max_waiting_bytes: int) -> None:
        """`max_waiting_bytes`: of large bodies that wait to be read, beside what admission lets in."""
        by_name = {service.name: service for service in services.all}
        classifier = by_name[_CLASSIFIER].handlers
        self._large = LargeBodies(services.begin, max_waiting_bytes)
        self._operations = OperationRoutes(health, registry)
        self.routes: tuple[Route, ...] = (
            *ClassifyRoutes(classifier, self._large).routes,
            *InferenceRoutes(by_name[_OPEN_INFERENCE].handlers, self._large).routes,
            *TorchServeRoutes(classifier["Classify"], health, self._large).routes,
            *ProtobufRoutes(by_name[_CLASSIFIER], health).routes,
            *self._operations.routes,
            *OpenApiRoute().routes,
        )

    def close(self) -> None:
        """Ends its threads."""
        self._large.close()
        self._operations.close()
