"""Reads the requests of covey.v1.Classifier and writes parts of its answers. Pure functions; what is wrong with a
request is found here, before anything waits."""

from __future__ import annotations

from collections.abc import Iterable

from covey_proto.v1 import classifier_pb2 as pb
from covey_server.batching.request import Buffer
from covey_server.errors import ImageTooLarge, InvalidImage, InvalidRequest
from covey_server.inference.served_model import ServedModel
from covey_server.models.catalog import Catalog, RefusedVersion
from covey_server.observability.trial import State
from covey_server.protocols.classifier.responses import write_result
from covey_server.system.threads import with_pauses

DEFAULT_TOP_K = 5
ImageFailure = InvalidImage | ImageTooLarge
_CANARY_STATES: dict[State, pb.Model.Canary] = {
    "checking": pb.Model.CANARY_CHECKING,
    "trial": pb.Model.CANARY_TRIAL,
    "promoted": pb.Model.CANARY_PROMOTED,
    "rolled_back": pb.Model.CANARY_ROLLED_BACK,
}


def top_k_of(message: pb.ClassifyRequest, model: ServedModel) -> int:
    """How many classes per image the caller wants, of a model with independent labels at the most. Raises
    InvalidRequest unless the model has so many."""
    classes = len(model.labels)
    if not message.HasField("top_k"):
        return min(DEFAULT_TOP_K, classes) if model.thresholds is None else classes
    if not 1 <= message.top_k <= classes:
        else_ = f"the best {min(DEFAULT_TOP_K, classes)}" if model.thresholds is None else "all above their thresholds"
        raise InvalidRequest(
            f"top_k is {message.top_k}; expected 1 to {classes}, the number of classes of model {model.name!r} "
            f"(omit it for {else_})"
        )
    return message.top_k


def require_embedding(model: ServedModel) -> None:
    """Raises InvalidRequest of a model that publishes none."""
    if not model.embedding_size:
        raise InvalidRequest(
            f"an embedding was asked for, which model {model.name!r} version {model.version} does not publish; omit "
            f"`embedding`, or convert the model with covey convert --embedding"
        )


def pixel_rows(pixels: pb.Pixels, data: Buffer | None, model: ServedModel) -> tuple[Buffer, int]:
    """The bytes of the pixels and how many images they hold. `data` is `pixels.data` where that was cut out.

    Raises InvalidRequest unless they are whole images of the model's size.
    """
    if pixels.height or pixels.width or pixels.channels:
        _require_shape(pixels, model)
    rows = pixels.data if data is None else data
    count, rest = divmod(len(rows), model.image_bytes)
    if rest or not count:
        height, width, channels = model.input_shape
        raise InvalidRequest(
            f"pixels.data has {len(rows):,} bytes; model {model.name!r} expects n x {height} x {width} x {channels} "
            f"(height x width x channels), a multiple of {model.image_bytes:,} bytes and at least one image"
        )
    return rows, count


def _require_shape(pixels: pb.Pixels, model: ServedModel) -> None:
    height, width, channels = model.input_shape
    said = (pixels.height or height, pixels.width or width, pixels.channels or channels)
    if said != model.input_shape:
        raise InvalidRequest(
            f"pixels of height {said[0]}, width {said[1]}, {said[2]} channel(s) were sent; model {model.name!r} takes "
            f"height {height}, width {width}, {channels} channel(s). Resize them, or send encoded images, which the "
            f"server resizes"
        )


def write_results(results: Iterable[Buffer], failures: Iterable[ImageFailure | None]) -> bytes:
    """All results in the order of the images: the written ones, and errors in the places of failed images. `failures`
    has an entry for each image, None for those that could be read."""
    good = iter(results)
    return b"".join(
        next(good) if failure is None else write_result(failed_image(failure)) for failure in with_pauses(failures)
    )


def failed_image(failure: ImageFailure) -> pb.Result:
    """The result of an image that could not be read."""
    too_large = isinstance(failure, ImageTooLarge)
    reason = pb.ImageError.REASON_TOO_LARGE if too_large else pb.ImageError.REASON_INVALID
    return pb.Result(error=pb.ImageError(reason=reason, message=str(failure)))


def served_model(
    model: ServedModel, catalog: Catalog, canary: tuple[State, str] | None, *, workers: int, max_message_bytes: int
) -> pb.Model:
    """A model of a catalog as ListModels and GetModel show it; `canary` as `Canaries.state_of`."""
    engine, cost = model.engine, model.cost
    serving = pb.Serving(
        device=engine.device.name,
        provider=engine.device.provider,
        device_fallback=engine.device.fallback,
        workers=workers,
        threads=engine.threads,
        max_batch_size=cost.best_batch_size,
        max_message_bytes=max_message_bytes,
        batch_curve=[pb.BatchCost(batch_size=size, run_us=ns / 1000) for size, ns in cost.measured.items()],
        load_ms=round(model.load_s * 1000),
        memory_bytes=model.memory_bytes,
        golden_difference=model.golden_difference,
        digest=model.digest,
    )
    state, reason = (pb.Model.CANARY_UNSPECIFIED, "") if canary is None else (_CANARY_STATES[canary[0]], canary[1])
    return pb.Model(
        name=model.name,
        version=model.version,
        state=pb.Model.STATE_READY,
        reason=catalog.refusal_of_file(model),
        is_default=catalog.is_default(model),
        is_default_version=catalog.is_default_version(model),
        is_shadow=catalog.is_shadow(model),
        canary=state,
        canary_reason=reason,
        info=model.info,
        serving=serving,
    )


def refused_model(refusal: RefusedVersion) -> pb.Model:
    """A version that is not served, with the reason."""
    return pb.Model(name=refusal.name, version=refusal.version, state=pb.Model.STATE_REFUSED, reason=refusal.reason)
