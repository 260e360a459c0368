"""What covey.v1 says of a model, as callers see it."""

from __future__ import annotations

import datetime

from covey.results import BatchCost, CanaryState, InputSize, Model, ModelState, Serving, Training
from covey_proto import interpolation, resize
from covey_proto.v1 import classifier_pb2 as pb

_DEFAULT_THRESHOLD = 0.5  # of independent labels whose file says none
_STATES = {pb.Model.STATE_READY: ModelState.READY, pb.Model.STATE_REFUSED: ModelState.REFUSED}
_CANARIES = {
    pb.Model.CANARY_CHECKING: CanaryState.CHECKING,
    pb.Model.CANARY_TRIAL: CanaryState.TRIAL,
    pb.Model.CANARY_PROMOTED: CanaryState.PROMOTED,
    pb.Model.CANARY_ROLLED_BACK: CanaryState.ROLLED_BACK,
}


def model(message: pb.Model) -> Model:
    """The model of a ListModels or GetModel response."""
    info = message.info
    return Model(
        name=message.name,
        version=message.version,
        state=_STATES.get(message.state, ModelState.UNKNOWN),
        reason=message.reason,
        is_default=message.is_default,
        is_default_version=message.is_default_version,
        labels=tuple(info.labels),
        input=_input_size(info.input) if info.HasField("input") else None,
        training=_training(info) if info.HasField("training") else None,
        serving=_serving(message.serving) if message.HasField("serving") else None,
        independent=info.answer == pb.ModelInfo.ANSWER_INDEPENDENT,
        thresholds=_thresholds(info),
        temperature=info.calibration.temperature if info.HasField("calibration") else None,
        is_shadow=message.is_shadow,
        canary=_CANARIES.get(message.canary),
        canary_reason=message.canary_reason,
        known_from=info.unknown.threshold if info.HasField("unknown") else None,
        embedding_size=info.embedding_size,
    )


def _thresholds(info: pb.ModelInfo) -> tuple[float, ...]:
    if info.answer != pb.ModelInfo.ANSWER_INDEPENDENT:
        return ()
    return tuple(round(each, 6) for each in info.thresholds) or (_DEFAULT_THRESHOLD,)  # of float32


def _input_size(spec: pb.ImageSpec) -> InputSize:
    crop = round(spec.crop, 6) or 1.0  # of a float32
    mean, std = (tuple(round(each, 6) for each in numbers) for numbers in (spec.mean, spec.std))
    return InputSize(
        spec.height,
        spec.width,
        spec.channels,
        resize.from_message(spec.resize),
        crop,
        spec.background,
        mean,
        std,
        resize_to=spec.resize_to,
        interpolation=interpolation.from_message(spec.interpolation),
        pad=spec.pad,
        ignore_exif=spec.ignore_exif,
        exact=spec.exact,
        colour_order=spec.colour_order,
    )


def _training(info: pb.ModelInfo) -> Training:
    training = info.training
    created = info.build.created.ToDatetime(datetime.UTC) if info.build.HasField("created") else None
    return Training(
        network=training.network,
        dataset=training.dataset,
        recipe=training.recipe,
        epochs=training.epochs,
        seed=training.seed,
        test_accuracy=training.test_accuracy,
        test_images=training.test_images,
        parameters=training.parameters,
        created=created,
        precision=info.build.precision or "float32",
    )


def _serving(serving: pb.Serving) -> Serving:
    return Serving(
        device=serving.device,
        provider=serving.provider,
        workers=serving.workers,
        threads=serving.threads,
        max_batch_size=serving.max_batch_size,
        max_message_bytes=serving.max_message_bytes,
        batch_curve=tuple([BatchCost(cost.batch_size, cost.run_us) for cost in serving.batch_curve]),
        load_ms=serving.load_ms,
        memory_bytes=serving.memory_bytes,
        golden_difference=serving.golden_difference,
        device_fallback=serving.device_fallback,
        digest=serving.digest,
    )
