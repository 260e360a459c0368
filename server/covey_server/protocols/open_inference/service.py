"""The service inference.GRPCInferenceService: reads its requests. `requests` writes the answers of ModelInfer; the
steps between are the pipeline's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from google.protobuf.message import Message

from covey_proto.inference import open_inference_pb2 as pb
from covey_proto.tensors import EMBEDDING, ENCODED, IMAGES
from covey_server.batching.request import Buffer
from covey_server.calls.call import Call
from covey_server.calls.service import Handler, Service, StreamMethod
from covey_server.errors import ManagementOff, RequestError, Unsupported
from covey_server.images.decode_pool import Steps
from covey_server.inference.served_model import ServedModel
from covey_server.models.catalog import Catalog
from covey_server.observability.health import Health
from covey_server.observability.metrics import Metrics
from covey_server.protocols.canaries import route
from covey_server.protocols.fast_way import FastWay
from covey_server.protocols.forms import Form
from covey_server.protocols.management import Management
from covey_server.protocols.open_inference import descriptions, inputs, management_requests, original_inputs
from covey_server.protocols.open_inference.management_requests import ManagementRequest
from covey_server.protocols.open_inference.outputs import OutputWriter
from covey_server.protocols.open_inference.requests import Inference, InferenceAndMore, InferenceForm, MakeInference
from covey_server.protocols.open_inference.streaming import InferElement
from covey_server.protocols.parsing import parse, parse_around
from covey_server.protocols.pipeline import SMALL_ANSWER_BYTES, Pipeline

NAME: str = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name


class OpenInference:
    """The service. Its methods return at once; answers of ModelInfer come from the workers' threads."""

    def __init__(
        self, pipeline: Pipeline, health: Health, metrics: Metrics, management: Management | None, *, workers: int
    ) -> None:
        """`management` None: calls may not load or unload models."""
        self._pipeline = pipeline
        self._health = health
        self._metrics = metrics
        self._management = management
        self._workers = workers
        self._fast_way = FastWay(pipeline, inputs.RAW, self.infer, self._infer)

    @property
    def service(self) -> Service:
        handlers: dict[str, Handler] = {"ModelInfer": self.infer}
        for name, answer in (
            ("ServerLive", self._server_live),
            ("ServerReady", self._server_ready),
            ("ModelReady", self._model_ready),
            ("ServerMetadata", self._server_metadata),
            ("ModelMetadata", self._model_metadata),
            ("ModelConfig", self._model_config),
            ("ModelStatistics", self._model_statistics),
            ("RepositoryIndex", self._repository_index),
        ):
            handlers[name] = self._handler(answer)
        repository = self._pipeline.repository
        handlers["RepositoryModelLoad"] = self._manager(pb.RepositoryModelLoadRequest, repository.load_model)
        handlers["RepositoryModelUnload"] = self._manager(pb.RepositoryModelUnloadRequest, repository.unload_model)
        streams = {"ModelStreamInfer": StreamMethod(self.infer, InferElement)}
        return Service(NAME, handlers, streams, {"ModelInfer": self._fast_way.handle})

    def infer(self, call: Call) -> None:
        """ModelInfer, and each request of ModelStreamInfer."""
        self._infer(call)

    def _infer(self, call: Call) -> tuple[Form, Catalog] | None:
        """Returns what the request says beside its pixels, if it is small and others may be like it."""
        self._pipeline.admit(call)
        payload, call.payload = call.payload, b""  # so that only what is needed of it is kept
        return self._answer(call, payload)

    def _answer(self, call: Call, payload: bytes, served: ServedModel | None = None) -> tuple[Form, Catalog] | None:
        """As above, for a call that is in. `served` is the version that answers once a canary has failed."""
        pipeline = self._pipeline
        model = said = None
        try:
            request, raw = parse_around(pb.ModelInferRequest, payload, inputs.RAW)
            catalog = pipeline.repository.catalog
            version = inputs.version_number(request.model_version)
            model = found = served or catalog.find(request.model_name, version)
            if catalog.canaries and not version and served is None:
                model = route(catalog, found, call, partial(self._answer, payload=payload, served=found))
            writer: OutputWriter = model.prepared[OutputWriter]
            if request.parameters:
                inputs.shorten_deadline(call, request)
            if model.original is not None and not original_inputs.are_images(request, model.original):
                original_inputs.infer(pipeline, call, model.original, request, raw, Inference)
                return None
            kind: MakeInference = Inference
            extra: tuple[str, ...] = ()
            if request.outputs and (extra := inputs.take_extra(request, model)):
                kind = partial(InferenceAndMore, extra, not request.outputs)
            k = inputs.classes_asked(request, model)
            tensor = inputs.only_input(request)
            contents: Buffer | None = raw
            if raw is None and request.raw_input_contents:
                contents = request.raw_input_contents[0]
            count = inputs.count_images(tensor, model)
            answer_bytes = count * writer.row_bytes[k]
            if EMBEDDING in extra:
                answer_bytes += count * writer.embedding_bytes
            if tensor.name == IMAGES and contents is not None:
                inputs.require_pixels(contents, count, model)
                pipeline.charge(call, count)
                if answer_bytes > SMALL_ANSWER_BYTES:
                    pipeline.reserve_answer(call, answer_bytes)
                # An id is hardly the same twice, and a timeout is a deadline of each call's own.
                elif not k and not request.id and not request.parameters and kind is Inference and model is found:
                    said = InferenceForm(request.model_name, version, count, writer), catalog
                pipeline.batcher.put(kind(pipeline, call, model, writer, k, contents, count, request.id))
            else:
                steps = (
                    self._decode(kind, call, model, writer, k, request.id, contents, tensor, count)
                    if tensor.name == ENCODED
                    else self._convert(kind, call, model, writer, k, request.id, tensor, count)
                )
                pipeline.prepare(call, model, count, steps, answer_bytes)
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the caller is answered
            pipeline.fail(call, model, error)
        return said

    def _decode(
        self, kind: MakeInference, call: Call, model: ServedModel, writer: OutputWriter, k: int, request_id: str,
        raw: Buffer | None, tensor: inputs.InputTensor, count: int,
    ) -> Steps[Inference]:  # fmt: skip
        """Decodes encoded images. The protocol has no errors of single images: one that cannot be read fails all."""
        files = inputs.encoded_images(raw, tensor, count)
        decoded = yield from self._pipeline.decode(call, model, files, all_or_none=True)
        *good, failure = decoded.failures
        if failure is not None:
            raise type(failure)(f"element {len(good)} of input {ENCODED!r}: {failure}", failure.reason)
        return kind(self._pipeline, call, model, writer, k, decoded.rows, count, request_id)

    def _convert(
        self, kind: MakeInference, call: Call, model: ServedModel, writer: OutputWriter, k: int, request_id: str,
        tensor: inputs.InputTensor, count: int,
    ) -> Steps[Inference]:  # fmt: skip
        """Reads typed contents: one number of up to two bytes per pixel, which takes long."""
        rows = yield from inputs.typed_pixels(tensor, count, model)
        return kind(self._pipeline, call, model, writer, k, rows, count, request_id)

    def _handler(self, answer: Callable[[bytes], Message]) -> Handler:
        """The handler of a method that needs no model run."""

        def handle(call: Call) -> None:
            self._pipeline.require_room(call)
            self._pipeline.reply(call, answer(call.payload).SerializeToString())

        return handle

    def _manager(self, kind: type[ManagementRequest], change: Callable[[str], None]) -> Handler:
        """The handler of a method that loads or unloads a model by `change`."""

        def handle(call: Call) -> None:
            if self._management is None:
                raise ManagementOff(
                    "explicit model load / unload is not allowed: this server was started without --allow-management. "
                    "Put NAME/VERSION/model.onnx into the models folder, or take it away; the server follows"
                )
            self._pipeline.require_room(call, whatever_is_held=True)
            name = management_requests.model_name(parse(kind, call.payload))
            call.payload = b""

            def run(call: Call) -> None:
                change(name)
                call.reply(b"")  # the answers of both methods have no fields

            self._management.submit(run, call)

        return handle

    def _server_live(self, payload: bytes) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=self._health.live)

    def _server_ready(self, payload: bytes) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self._health.ready)

    def _model_ready(self, payload: bytes) -> pb.ModelReadyResponse:
        request = parse(pb.ModelReadyRequest, payload)
        try:
            self._find(request.name, request.version)
        except RequestError:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=self._health.ready)

    def _server_metadata(self, payload: bytes) -> pb.ServerMetadataResponse:
        return descriptions.server()

    def _model_metadata(self, payload: bytes) -> pb.ModelMetadataResponse:
        request = parse(pb.ModelMetadataRequest, payload)
        model = self._find(request.name, request.version)
        served = self._pipeline.repository.catalog.served
        versions = sorted(each.version for each in served if each.name == model.name)
        return descriptions.metadata(model, [model.version] if request.version else versions)

    def _model_config(self, payload: bytes) -> pb.ModelConfigResponse:
        request = parse(pb.ModelConfigRequest, payload)
        model = self._find(request.name, request.version)
        limit = self._pipeline.admission.max_message_bytes
        return pb.ModelConfigResponse(config=descriptions.config(model, workers=self._workers, max_message_bytes=limit))

    def _model_statistics(self, payload: bytes) -> pb.ModelStatisticsResponse:
        request = parse(pb.ModelStatisticsRequest, payload)
        models = self._pipeline.repository.catalog.served
        if request.name:
            meant = self._find(request.name, request.version)
            models = tuple(each for each in models if each.name == meant.name)
            if request.version:
                models = (meant,)
        return pb.ModelStatisticsResponse(
            model_stats=[descriptions.statistics(model, self._metrics.tally(model)) for model in models]
        )

    def _repository_index(self, payload: bytes) -> pb.RepositoryIndexResponse:
        request = parse(pb.RepositoryIndexRequest, payload)
        if request.repository_name:
            raise Unsupported("this server has one models folder, which has no name; omit repository_name")
        return descriptions.index(self._pipeline.repository.catalog, only_ready=request.ready)

    def _find(self, name: str, version: str) -> ServedModel:
        return self._pipeline.repository.catalog.find(name, inputs.version_number(version))
