"""The service covey.v1.Classifier: reads its requests. `requests` writes the answers of Classify; the steps between are
the pipeline's."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

from covey_proto import image_formats
from covey_proto.v1 import classifier_pb2 as pb
from covey_server.calls.call import Call
from covey_server.calls.service import Service, StreamMethod
from covey_server.errors import InvalidRequest
from covey_server.images.decode_pool import Steps
from covey_server.inference.served_model import ServedModel
from covey_server.models.catalog import Catalog
from covey_server.observability.canaries import Canaries
from covey_server.protocols.canaries import route
from covey_server.protocols.classifier import messages
from covey_server.protocols.classifier.choose import ChooseMethod
from covey_server.protocols.classifier.explain import ExplainMethod
from covey_server.protocols.classifier.requests import (
    Classification,
    ClassificationForm,
    ClassificationWithEmbedding,
    PartialClassification,
    PartialClassificationWithEmbedding,
)
from covey_server.protocols.classifier.responses import ResponseWriter
from covey_server.protocols.classifier.stream_messages import ClassifyElement
from covey_server.protocols.fast_way import FastWay
from covey_server.protocols.forms import Form
from covey_server.protocols.parsing import parse, parse_around
from covey_server.protocols.pipeline import SMALL_ANSWER_BYTES, Pipeline

_PIXELS_DATA = (pb.ClassifyRequest.PIXELS_FIELD_NUMBER, pb.Pixels.DATA_FIELD_NUMBER)
NAME: str = pb.DESCRIPTOR.services_by_name["Classifier"].full_name


class Classifier:
    """The service. Its methods return at once; answers come from the workers' threads."""

    def __init__(
        self, pipeline: Pipeline, explain: ExplainMethod, choose: ChooseMethod, canaries: Canaries, *, workers: int
    ) -> None:
        self._pipeline = pipeline
        self._canaries = canaries
        self._explain = explain
        self._choose = choose
        self._workers = workers
        self._fast_way = FastWay(pipeline, _PIXELS_DATA, self.classify, self._classify)

    @property
    def service(self) -> Service:
        handlers = {
            "Classify": self.classify,
            "ListModels": self.list_models,
            "GetModel": self.get_model,
            "Explain": self._explain.explain,
            "ChooseVersion": self._choose.choose,
        }
        streams = {"ClassifyStream": StreamMethod(self.classify, ClassifyElement)}
        return Service(NAME, handlers, streams, {"Classify": self._fast_way.handle})

    def classify(self, call: Call) -> None:
        """Classify, and each request of ClassifyStream."""
        self._classify(call)

    def _classify(self, call: Call) -> tuple[Form, Catalog] | None:
        """Returns what the request says beside its pixels, if it is small and holds nothing else."""
        self._pipeline.admit(call)
        payload, call.payload = call.payload, b""  # so that only what is needed of it is kept
        return self._answer(call, payload)

    def _answer(self, call: Call, payload: bytes, served: ServedModel | None = None) -> tuple[Form, Catalog] | None:
        """As above, for a call that is in. `served` is the version that answers once a canary has failed."""
        pipeline = self._pipeline
        model = said = None
        try:
            message, data = parse_around(pb.ClassifyRequest, payload, _PIXELS_DATA)
            catalog = pipeline.repository.catalog
            model = found = served or catalog.find(message.model, message.version)
            if catalog.canaries and not message.version and served is None:
                model = route(catalog, found, call, partial(self._answer, payload=payload, served=found))
            writer: ResponseWriter = model.prepared[ResponseWriter]
            top_k = messages.top_k_of(message, model)
            image_bytes = writer.row_bytes[top_k]
            kind = Classification
            if message.embedding:
                messages.require_embedding(model)
                image_bytes += writer.embedding_bytes
                kind = ClassificationWithEmbedding
            match message.WhichOneof("images"):
                case "pixels":
                    rows, count = messages.pixel_rows(message.pixels, data, model)
                    pipeline.charge(call, count)
                    if (answer_bytes := count * image_bytes) > SMALL_ANSWER_BYTES:
                        pipeline.reserve_answer(call, answer_bytes)
                    elif model is found and kind is Classification:
                        said = ClassificationForm(message.model, message.version, count, writer, top_k), catalog
                    pipeline.batcher.put(kind(pipeline, call, model, writer, top_k, rows, count))
                case "encoded" if message.encoded.images:
                    images = message.encoded.images  # each is copied when it is decoded
                    steps = self._decode(kind, call, model, top_k, images)
                    pipeline.prepare(call, model, len(images), steps, len(images) * image_bytes)
                case _:
                    raise InvalidRequest(
                        f"the request holds no image; set encoded.images to {image_formats.listed()} files, or "
                        "pixels.data to raw pixels"
                    )
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the caller is answered
            pipeline.fail(call, model, error)
        return said

    def list_models(self, call: Call) -> None:
        """ListModels."""
        self._pipeline.require_room(call)
        catalog = self._pipeline.repository.catalog
        models = [self._describe(catalog, model) for model in catalog.served]
        models += [messages.refused_model(refusal) for refusal in catalog.not_served]
        models.sort(key=lambda model: (model.name, model.version))
        self._pipeline.reply(call, pb.ListModelsResponse(models=models).SerializeToString())

    def get_model(self, call: Call) -> None:
        """GetModel."""
        self._pipeline.require_room(call)
        message = parse(pb.GetModelRequest, call.payload)
        catalog = self._pipeline.repository.catalog
        refusal = catalog.find_refusal(message.name, message.version)
        model = (
            messages.refused_model(refusal)
            if refusal is not None
            else self._describe(catalog, catalog.find(message.name, message.version))
        )
        self._pipeline.reply(call, pb.GetModelResponse(model=model).SerializeToString())

    def _decode(
        self, kind: type[Classification], call: Call, model: ServedModel, top_k: int, images: Sequence[bytes]
    ) -> Steps[Classification | bytes]:
        """Decodes the images of a request. If none can be read, returns the answer."""
        writer: ResponseWriter = model.prepared[ResponseWriter]
        decoded = yield from self._pipeline.decode(call, model, images)
        rows, count, failures = decoded.rows, decoded.count, decoded.failures
        if count == len(images):
            return kind(self._pipeline, call, model, writer, top_k, rows, count)
        if count:
            some = PartialClassification if kind is Classification else PartialClassificationWithEmbedding
            return some(self._pipeline, call, model, writer, top_k, rows, count, failures)
        decode_us = (time.monotonic_ns() - call.arrived_ns) // 1000
        return messages.write_results((), failures) + writer.tail(decode_us, decode_us, 0, 0)

    def _describe(self, catalog: Catalog, model: ServedModel) -> pb.Model:
        return messages.served_model(
            model,
            catalog,
            self._canaries.state_of(model),
            workers=self._workers,
            max_message_bytes=self._pipeline.admission.max_message_bytes,
        )
