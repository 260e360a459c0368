"""HTTP as another way to the services that gRPC has: bodies and paths become their messages, and their answers become
JSON; or both are messages as they are. What a request means, and every limit on it, is decided by these services; this
folder knows none of them but their messages."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from covey_server.batching.admission import Admission
from covey_server.calls import status
from covey_server.calls.http import HttpCall, Route
from covey_server.calls.service import Services
from covey_server.errors import RequestError
from covey_server.models.repository import Repository
from covey_server.observability.health import Health
from covey_server.observability.metrics import Metrics
from covey_server.protocols.rest.about import AboutRoute
from covey_server.protocols.rest.choose import ChooseRoutes
from covey_server.protocols.rest.classify import ClassifyRoutes
from covey_server.protocols.rest.explain import ExplainRoutes
from covey_server.protocols.rest.inference import InferenceRoutes
from covey_server.protocols.rest.large_bodies import LargeBodies
from covey_server.protocols.rest.live import LiveRoute
from covey_server.protocols.rest.model_files import ModelFiles
from covey_server.protocols.rest.openapi.document import OpenApiRoute
from covey_server.protocols.rest.operations import OperationRoutes
from covey_server.protocols.rest.protobuf import ProtobufRoutes
from covey_server.protocols.rest.static import PAGES, static_routes
from covey_server.protocols.rest.torchserve import TorchServeRoutes

_CLASSIFIER, _OPEN_INFERENCE = "covey.v1.Classifier", "inference.GRPCInferenceService"


class Rest:
    """All routes: `pages` are those of web pages, `routes` all, these included."""

    def __init__(
        self, services: Services, health: Health, registry: CollectorRegistry, metrics: Metrics, repository: Repository,
        admission: Admission, grpc_port: int, max_waiting_bytes: int, *, page: bool,
    ) -> None:  # fmt: skip
        """`max_waiting_bytes`: of large bodies that wait to be read, beside what admission lets in. `page`: whether
        there is one at /."""
        self._metrics = metrics
        by_name = {service.name: service for service in services.all}
        classifier, inference = by_name[_CLASSIFIER].handlers, by_name[_OPEN_INFERENCE]
        self._large = LargeBodies(services.begin, max_waiting_bytes, self._count_failure)
        self._operations = OperationRoutes(health, registry)
        self._live = LiveRoute(registry)
        self._files = ModelFiles(repository.folder_of, admission)
        self.pages = static_routes(PAGES / "docs", page="/docs", files="/docs")
        if page:
            self.pages += static_routes(PAGES / "app", page="/", files="/page")
        self.routes: tuple[Route, ...] = (
            *ClassifyRoutes(classifier, self._large).routes,
            *ExplainRoutes(classifier["Explain"], self._large).routes,
            *ChooseRoutes(classifier["ChooseVersion"]).routes,
            *InferenceRoutes(inference.handlers, inference.burst_handlers, self._large).routes,
            *TorchServeRoutes(classifier["Classify"], health, self._large).routes,
            *ProtobufRoutes(by_name[_CLASSIFIER], health).routes,
            *self._operations.routes,
            *OpenApiRoute().routes,
            *AboutRoute(grpc_port).routes,
            *self._live.routes,
            *self._files.routes,
            *self.pages,
        )

    def drain(self, timeout_s: float) -> None:
        """Ends the answers that go on until somebody ends them, and has all bodies that have come read by the services,
        which are to take no new calls soon."""
        self._live.close()
        self._large.drain(timeout_s)

    def close(self) -> None:
        """Ends its threads."""
        self._files.close()
        self._large.close()
        self._operations.close()

    def _count_failure(self, call: HttpCall, error: RequestError) -> None:
        self._metrics.count_refusal(error)
        self._metrics.count_answer(None, status.of(error).name, call.peer)
