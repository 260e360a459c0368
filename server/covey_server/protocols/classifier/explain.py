"""The method Explain: reads its requests, has them explained apart from serving, and writes its answers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from covey_proto import tensors
from covey_proto.v1 import classifier_pb2 as pb
from covey_server.batching.output import NOT_FINITE
from covey_server.calls import status
from covey_server.calls.call import Call
from covey_server.calls.status import Status
from covey_server.errors import EngineFailed, InvalidRequest, RequestError, Unsupported
from covey_server.explaining import heat, maps, units
from covey_server.explaining.explainer import Explainer, Job
from covey_server.explaining.heat import HeatMap
from covey_server.explaining.inside import Inside, has_answer
from covey_server.images.decode_pool import Steps
from covey_server.inference.served_model import ServedModel
from covey_server.observability.metrics import Metrics
from covey_server.protocols.classifier import explain_messages as messages
from covey_server.protocols.parsing import parse
from covey_server.protocols.pipeline import Pipeline

T = TypeVar("T", bound=np.floating[Any])

_RUN_NS = 5e6  # of one run, by the cost model
_GREY = 0.5  # where a file says no mean


class ExplainMethod:
    """Answers from the explainer's thread; counts its calls apart from those that are served."""

    def __init__(self, pipeline: Pipeline, explainer: Explainer | None, metrics: Metrics) -> None:
        """`explainer` is None where nothing is explained."""
        self._pipeline = pipeline
        self._explainer = explainer
        self._metrics = metrics
        self._layers: WeakKeyDictionary[Inside, list[pb.Layer]] = WeakKeyDictionary()

    def explain(self, call: Call) -> None:
        """Explain."""
        if self._explainer is None:
            raise Unsupported("this server explains nothing: it was started with --no-explain")
        try:
            self._explainer.require_time()  # first, so that a refusal costs nothing
            self._pipeline.enter(call)
        except RequestError as error:
            self._pipeline.add_hint(error)
            self._count(error, status.of(error))
            raise
        try:
            self._begin(call, self._explainer)
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the caller is answered
            self._fail(call, error)

    def _begin(self, call: Call, explainer: Explainer) -> None:
        pipeline = self._pipeline
        message = parse(pb.ExplainRequest, call.payload)
        call.payload = b""
        model = pipeline.repository.catalog.find(message.model, message.version)
        messages.require_valid(message, model)
        pipeline.reserve_answer(call, messages.answer_bytes(message, model))
        match message.WhichOneof("image"):
            case "encoded":
                pipeline.prepare(call, model, 1, self._decode(call, explainer, model, message))
            case "pixels":
                pipeline.charge(call, 1)
                self._submit(call, explainer, model, message, messages.pixels_of(message.pixels, model))
            case _:
                self._submit(call, explainer, model, message, None)

    def _decode(self, call: Call, explainer: Explainer, model: ServedModel, message: pb.ExplainRequest) -> Steps[None]:
        """On threads of the decode pool."""
        try:
            decoded = yield from self._pipeline.decode(call, model, (message.encoded,), all_or_none=True)
            if failure := decoded.failures[0]:
                raise failure
            pixels = np.frombuffer(decoded.rows, np.uint8).reshape(1, *model.input_shape)
            self._submit(call, explainer, model, message, pixels)
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(call, error)

    def _submit(
        self,
        call: Call,
        explainer: Explainer,
        model: ServedModel,
        message: pb.ExplainRequest,
        pixels: NDArray[np.uint8] | None,
    ) -> None:
        explanation = _Explanation(self._pipeline, explainer, call, model, message, pixels)

        def work(inside: Inside, open_ns: int) -> None:
            layers = self._layers.get(inside)
            if layers is None:
                layers = self._layers[inside] = messages.write_layers(inside)
            payload = explanation.run(inside, layers, open_ns)
            self._metrics.count_explanation("OK")
            self._pipeline.succeed(call, payload)

        explainer.submit(Job(model, call.peer, work, partial(self._fail, call)))

    def _fail(self, call: Call, error: Exception) -> None:
        self._pipeline.fail_counted(call, error, self._count)

    def _count(self, error: Exception, answer: Status) -> None:
        self._metrics.count_explanation(answer.name)


class _Explanation:
    """One call, on the explainer's thread."""

    def __init__(
        self,
        pipeline: Pipeline,
        explainer: Explainer,
        call: Call,
        model: ServedModel,
        message: pb.ExplainRequest,
        pixels: NDArray[np.uint8] | None,
    ) -> None:
        self._pipeline = pipeline
        self._explainer = explainer
        self._call = call
        self._model = model
        self._message = message
        self._pixels = pixels
        self._queued_ns = time.monotonic_ns()
        self._images = 0

    def run(self, inside: Inside, layers: Sequence[pb.Layer], open_ns: int) -> bytes:
        """The answer's message. Raises RequestError."""
        started_ns = time.monotonic_ns() - open_ns
        self._give_way()
        model, message, pixels = self._model, self._message, self._pixels
        answer = pb.ExplainResponse(model=model.name, version=model.version, layers=layers)
        if pixels is not None:
            height, width, channels = model.input_shape
            answer.image.CopyFrom(
                pb.ExplainedImage(height=height, width=width, channels=channels, pixels=pixels.tobytes())
            )
            probabilities = self._add_maps(answer, inside, pixels)
            answer.classes.extend(messages.write_classes(probabilities, model))
            if message.HasField("heat_map"):
                self._add_heat_map(answer, inside, pixels)
            if message.HasField("unit"):
                self._give_way()
                unit = units.explain(inside, pixels, messages.place_of(message.unit))
                _finite(np.array([unit.engine_value, unit.result]))
                answer.unit.CopyFrom(messages.write_unit(unit))
                self._images += 1
        arrived_ns, ended_ns = self._call.arrived_ns, time.monotonic_ns()
        total_us, decode_us = (ended_ns - arrived_ns) // 1000, (self._queued_ns - arrived_ns) // 1000
        queue_us = (started_ns - arrived_ns) // 1000 - decode_us
        answer.timing.CopyFrom(
            pb.ExplainTiming(
                total_us=total_us,
                decode_us=decode_us,
                queue_us=queue_us,
                compute_us=total_us - decode_us - queue_us,
                open_us=open_ns // 1000,
                images=self._images,
            )
        )
        return answer.SerializeToString()

    def _add_maps(self, answer: pb.ExplainResponse, inside: Inside, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Adds the maps that are wanted, and returns the probabilities `[K]`, which are of the same run."""
        asked, count = self._message.maps, len(inside.layers)
        if wrong := [index for index in asked.layers if index >= count]:
            raise InvalidRequest(f"maps.layers has {wrong[0]}; expected 0 to {count - 1}, as the layers are listed")
        chosen = sorted(set(asked.layers)) or range(count)
        wanted = [inside.layers[index] for index in chosen] if self._message.HasField("maps") else []
        wanted = [layer for layer in wanted if has_answer(layer)]
        found = inside.run(pixels, [tensors.PROBABILITIES, *(layer.output for layer in wanted)])
        self._images += 1
        left_bytes = asked.bytes or maps.DEFAULT_BYTES
        # Small ones first: what they leave of their share is for the larger ones.
        wanted.sort(key=lambda layer: int(np.prod(inside.shapes[layer.index])))
        written = []
        for place, layer in enumerate(wanted):
            share_bytes = left_bytes // (len(wanted) - place)
            one = messages.write_maps(layer, inside.answer(layer, found[layer.output]), asked, share_bytes)
            if one is not None:
                written.append(one)
                left_bytes -= len(one.values)
        answer.maps.extend(sorted(written, key=lambda one: one.layer))
        return _finite(np.asarray(found[tensors.PROBABILITIES][0], np.float32))

    def _add_heat_map(self, answer: pb.ExplainResponse, inside: Inside, pixels: NDArray[np.uint8]) -> None:
        model, asked = self._model, self._message.heat_map
        class_index = asked.class_index if asked.HasField("class_index") else answer.classes[0].index
        began = time.monotonic_ns()
        found = self._class_activation(inside, pixels, class_index) if asked.method != "occlusion" else None
        if found is None and asked.method == "class_activation":
            raise InvalidRequest(
                f"model {model.name!r} has no class activation map: that takes a network whose last maps are averaged "
                f"and followed by one linear layer. Ask for occlusion"
            )
        if found is None:
            found = heat.occlusion(self._run, pixels, class_index, self._fill(), self._batch())
        _finite(found.values)
        self._images += found.images
        compute_us = (time.monotonic_ns() - began) // 1000
        answer.heat_map.CopyFrom(messages.write_heat_map(found, class_index, model.labels[class_index], compute_us))

    def _class_activation(self, inside: Inside, pixels: NDArray[np.uint8], class_index: int) -> HeatMap | None:
        head = heat.find_head(inside, len(self._model.labels))
        return None if head is None else heat.class_activation(inside, head, pixels, class_index)

    def _fill(self) -> list[float]:
        """The colour that says nothing to the network: the mean that it was trained with."""
        channels = self._model.input_shape[2]
        mean = list(self._model.info.input.mean) or [_GREY]
        return [255 * each for each in (mean if len(mean) == channels else mean[:1] * channels)]

    def _batch(self) -> int:
        """Images in one run: few enough that it ends soon, and enough that little is done between runs."""
        return max(1, min(heat.MAX_BATCH, int(_RUN_NS / self._model.cost.image_ns)))

    def _run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self._give_way()
        return self._model.run(images)

    def _give_way(self) -> None:
        self._explainer.give_way(lambda: self._pipeline.require_wanted(self._call))


def _finite(values: NDArray[T]) -> NDArray[T]:
    """`values`. Raises EngineFailed for NaN and infinity, which no answer holds."""
    if not np.isfinite(values).all():
        raise EngineFailed(NOT_FINITE)
    return values
