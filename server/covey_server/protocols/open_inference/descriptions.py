"""Models as the Open Inference Protocol and Triton's extensions describe them. Pure functions."""

from __future__ import annotations

import time

from covey_proto import __version__, image_formats, layout
from covey_proto.inference import open_inference_pb2 as pb
from covey_proto.tensors import EMBEDDING, ENCODED, IMAGES, KNOWN, PROBABILITIES
from covey_server.inference.answer_contract import DEFAULT_THRESHOLD
from covey_server.inference.original_input import OriginalInput
from covey_server.inference.served_model import ServedModel
from covey_server.models.catalog import Catalog
from covey_server.observability.tally import Histogram, ModelTally
from covey_server.protocols.open_inference.outputs import INDEPENDENT

PLATFORM = "onnxruntime_onnx"  # Triton's name for it
EXTENSIONS = ("classification", "model_configuration", "model_repository", "statistics")
_ENCODED_TEXT = f"{ENCODED}: in place of {IMAGES}, BYTES [N], {image_formats.listed()} files of any size"
_HEAD_BYTES = 4096  # of a message, for all that is not pixels
_MAX_INT32 = 2**31 - 1
_READY, _UNAVAILABLE = "READY", "UNAVAILABLE"


def server() -> pb.ServerMetadataResponse:
    """The server's name, version and extensions."""
    return pb.ServerMetadataResponse(name="covey", version=__version__, extensions=EXTENSIONS)


def metadata(model: ServedModel, versions: list[int]) -> pb.ModelMetadataResponse:
    """A model's tensors. The input for encoded images is told as a property, since clients send all inputs that are
    listed."""
    response = pb.ModelMetadataResponse(name=model.name, versions=map(str, versions), platform=PLATFORM)
    response.inputs.add(name=IMAGES, datatype="UINT8", shape=(-1, *model.input_shape))
    response.outputs.add(name=PROBABILITIES, datatype="FP32", shape=(-1, len(model.labels)))
    if model.known_from is not None:
        response.outputs.add(name=KNOWN, datatype="BOOL", shape=(-1, 1))
    if model.embedding_size:
        response.outputs.add(name=EMBEDDING, datatype="FP32", shape=(-1, model.embedding_size))
    response.properties["other_input"] = _ENCODED_TEXT
    if (original := model.original) is not None:
        engine = original.engine
        response.inputs.add(name=original.input_name, datatype=original.input_datatype, shape=(-1, *engine.shape))
        shape = (-1, *engine.output_shape)
        response.outputs.add(name=original.output_name, datatype=original.output_datatype, shape=shape)
        response.properties["original_input"] = _original_text(original)
    for name, text in _answer(model).items():
        response.properties[name] = text
    return response


def config(model: ServedModel, *, workers: int, max_message_bytes: int) -> pb.ModelConfig:
    """A model as a Triton configuration; `max_batch_size` is what fits into one message."""
    original = model.original
    image_bytes = model.image_bytes if original is None else max(model.image_bytes, original.image_bytes)
    fitting = max(1, (max_message_bytes - _HEAD_BYTES) // image_bytes)
    result = pb.ModelConfig(
        name=model.name,
        platform=PLATFORM,
        backend="onnxruntime",
        max_batch_size=min(fitting, _MAX_INT32),
        default_model_filename=layout.FILE_NAME,
    )
    result.input.add(name=IMAGES, data_type=pb.TYPE_UINT8, format=pb.ModelInput.FORMAT_NHWC, dims=model.input_shape)
    result.output.add(name=PROBABILITIES, data_type=pb.TYPE_FP32, dims=(len(model.labels),))
    if model.known_from is not None:
        result.output.add(name=KNOWN, data_type=pb.TYPE_BOOL, dims=(1,))
    if model.embedding_size:
        result.output.add(name=EMBEDDING, data_type=pb.TYPE_FP32, dims=(model.embedding_size,))
    kind = pb.ModelInstanceGroup.KIND_GPU if model.engine.device.is_cuda else pb.ModelInstanceGroup.KIND_CPU
    result.instance_group.add(name=model.name, count=workers, kind=kind)
    result.dynamic_batching.preferred_batch_size.append(model.cost.best_batch_size)
    result.parameters["other_input"].string_value = _ENCODED_TEXT
    if original is not None:
        engine = original.engine
        data_types = [pb.DataType.Value(f"TYPE_{each}") for each in (original.input_datatype, original.output_datatype)]
        result.input.add(name=original.input_name, data_type=data_types[0], dims=engine.shape)
        result.output.add(name=original.output_name, data_type=data_types[1], dims=engine.output_shape)
        result.parameters["original_input"].string_value = _original_text(original)
    for name, text in _answer(model).items():
        result.parameters[name].string_value = text
    return result


def statistics(model: ServedModel, tally: ModelTally) -> pb.ModelStatistics:
    """What a model has done since it was loaded. Of failed calls only the number is known, not the time."""
    failed = sum(count for (code, _), count in tally.codes.items() if code != "OK")
    last_ms = 0
    if tally.last_computed_ns:
        last_ms = int(time.time() * 1e3) - (time.monotonic_ns() - tally.last_computed_ns) // 1_000_000
    return pb.ModelStatistics(
        name=model.name,
        version=str(model.version),
        last_inference=last_ms,
        inference_count=tally.images,
        execution_count=sum(tally.reasons.values()),
        inference_stats=pb.InferStatistics(
            success=_duration(tally.request),
            fail=pb.StatisticDuration(count=failed),
            queue=_duration(tally.queue),
            compute_input=_duration(tally.decode),
            compute_infer=_duration(tally.compute),
            compute_output=pb.StatisticDuration(count=sum(tally.request.counts)),
        ),
    )


def index(catalog: Catalog, *, only_ready: bool) -> pb.RepositoryIndexResponse:
    """All versions that are served, and those that are refused, with the reason."""
    response = pb.RepositoryIndexResponse()
    for model in catalog.served:
        reason = catalog.refusal_of_file(model)
        response.models.add(name=model.name, version=str(model.version), state=_READY, reason=reason)
    for refusal in () if only_ready else catalog.not_served:
        version = str(refusal.version) if refusal.version else ""
        response.models.add(name=refusal.name, version=version, state=_UNAVAILABLE, reason=refusal.reason)
    response.models.sort(key=lambda each: (each.name, int(each.version or 0)))
    return response


def _original_text(original: OriginalInput) -> str:
    return (
        f"{original.input_name} {original.input_datatype}: in place of {IMAGES}, prepared as for the original file; "
        f"answered with {original.output_name} alone"
    )


def _answer(model: ServedModel) -> dict[str, str]:
    """What the probabilities are, where they do not add up to 1, and from which on an image is of a known class."""
    if model.known_from is not None:
        return {"known_from": f"{model.known_from:.6g}"}
    if model.thresholds is None:
        return {}
    thresholds = model.info.thresholds or [DEFAULT_THRESHOLD]
    return {"answer": INDEPENDENT, "thresholds": ",".join(f"{each:.6g}" for each in thresholds)}


def _duration(seconds: Histogram) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=sum(seconds.counts), ns=round(seconds.total * 1e9))
