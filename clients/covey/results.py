"""What the SDK answers with: frozen dataclasses that know nothing of protobuf or gRPC."""

from __future__ import annotations

import datetime
import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covey.errors import ImageError, InvalidInput, NoLabel
from covey_proto.interpolation import Interpolation
from covey_proto.resize import Resize


@dataclass(frozen=True, slots=True)
class Class:
    """One class and how probable it is, 0 to 1. `index` is its place in `Model.labels`."""

    label: str
    index: int
    probability: float


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the time of one request went, in microseconds. Images sent in one request share it.

    All but `round_trip_us` is the server's own account: `total_us = decode_us + queue_us + compute_us`.
    `round_trip_us` is what this client saw, the network and gRPC included.
    """

    total_us: int
    decode_us: int
    queue_us: int
    compute_us: int
    batch_size: int  # images the server computed together, those of other callers included
    device: str  # "cpu", "cuda:0"
    round_trip_us: int


class _ReadLater:
    """Slots that are filled when they are first read. Most callers look at the best class alone, and five of them take
    longer to make than all else that is done for an image."""

    __slots__ = ("_best", "_unread")
    _best: Class
    _unread: Callable[[], tuple[Class, ...]]
    classes: tuple[Class, ...]

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - called where a slot is empty
        value: Any
        match name:
            case "classes":
                value = self._unread()
            case "_best":
                if not self.classes:
                    raise NoLabel(
                        "no label reached its threshold for this image, so that none is the best; look at `labels` or "
                        "`classes`, which are empty then"
                    )
                value = self.classes[0]
            case "embedding":
                value = None
            case _:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        object.__setattr__(self, name, value)
        return value


@dataclass(frozen=True, slots=True)
class Classification(_ReadLater):
    """The answer for one image: the most probable classes, or why there are none.

    `label`, `index` and `probability` are the best class's; they raise `error` where there is one. Of a model with
    `independent` labels the classes are those at or above their threshold: any number, none too. Then those three raise
    NoLabel.
    """

    classes: tuple[Class, ...]  # most probable first; empty where there is an error
    error: ImageError | InvalidInput | None  # InvalidInput: of classify_many, for an image that could not be sent
    model: str  # the model that answered, even if the request named none
    version: int
    timing: Timing
    independent: bool = False  # each label has a probability of its own; else one class is right
    # Whether the image is taken for one of a class that the model knows: if False, the classes are a guess among those
    # it has. None: the model cannot tell, or there is an error.
    known: bool | None = None
    # The vector before the network's last layer, `[D] float32`, where the call asked for it: those of similar images
    # have nearly the same direction. Not to be written to.
    embedding: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)

    @property
    def labels(self) -> tuple[str, ...]:
        """What the image shows: all given labels where they are independent, else the best one alone. Raises `error`
        where there is one."""
        if not self.independent:
            return (self.best.label,)
        if self.error is not None:
            raise self.error.with_traceback(None)
        return tuple([one.label for one in self.classes])

    @property
    def best(self) -> Class:
        """The most probable class. Raises `error` where there is one, NoLabel where no label reached its threshold."""
        if self.error is not None:
            raise self.error.with_traceback(None)  # else each raise would lengthen the first one's traceback
        return self._best

    @property
    def label(self) -> str:
        return self.best.label

    @property
    def index(self) -> int:
        return self.best.index

    @property
    def probability(self) -> float:
        return self.best.probability


def _setters(kind: type, *names: str) -> list[Callable[[object, object], None]]:
    return [getattr(kind, name).__set__ for name in names]


# What each answer needs is made by its slots: __init__ of a frozen dataclass, which finds them by name, takes twice as
# long and more.
_new = object.__new__
_set_label, _set_index, _set_probability = _setters(Class, "label", "index", "probability")
_set_total, _set_decode, _set_queue, _set_compute = _setters(Timing, "total_us", "decode_us", "queue_us", "compute_us")
_set_batch_size, _set_device, _set_round_trip = _setters(Timing, "batch_size", "device", "round_trip_us")
_set_best, _set_unread, _set_error = _setters(Classification, "_best", "_unread", "error")
_set_model, _set_version, _set_timing = _setters(Classification, "model", "version", "timing")
_set_independent, _set_known, _set_embedding = _setters(Classification, "independent", "known", "embedding")


def make_class(label: str, index: int, probability: float) -> Class:
    """As `Class` makes it."""
    made = _new(Class)
    _set_label(made, label)
    _set_index(made, index)
    _set_probability(made, probability)
    return made


def make_timing(
    total_us: int, decode_us: int, queue_us: int, compute_us: int, batch_size: int, device: str, round_trip_us: int
) -> Timing:
    """As `Timing` makes it."""
    made = _new(Timing)
    _set_total(made, total_us)
    _set_decode(made, decode_us)
    _set_queue(made, queue_us)
    _set_compute(made, compute_us)
    _set_batch_size(made, batch_size)
    _set_device(made, device)
    _set_round_trip(made, round_trip_us)
    return made


def make_classification(
    best: Class,
    unread: Callable[[], tuple[Class, ...]],
    model: str,
    version: int,
    timing: Timing,
    independent: bool,
    known: bool | None = None,
    embedding: NDArray[np.float32] | None = None,
) -> Classification:
    """One without an error; `unread` gives the classes, once they are asked for."""
    made = _new(Classification)
    _set_best(made, best)
    _set_unread(made, unread)
    _set_error(made, None)
    _set_model(made, model)
    _set_version(made, version)
    _set_timing(made, timing)
    _set_independent(made, independent)
    _set_known(made, known)
    if embedding is not None:
        _set_embedding(made, embedding)
    return made


class ModelState(enum.Enum):
    READY = "ready"
    REFUSED = "refused"  # found by the server, but not served: see `Model.reason`
    UNKNOWN = "unknown"  # of a newer server than this client


class CanaryState(enum.Enum):
    CHECKING = "checking"  # it answers nobody yet
    TRIAL = "trial"  # it answers a share of the callers
    PROMOTED = "promoted"  # by the server's rules; see `Model.canary_reason`
    ROLLED_BACK = "rolled_back"  # the same


@dataclass(frozen=True, slots=True)
class InputSize:
    """The images a model takes: `[height, width, channels] uint8`, channels 1 (grey) or 3 (RGB)."""

    height: int
    width: int
    channels: int
    resize: Resize
    crop: float = 1.0  # the share of the largest centred part that CENTER_CROP keeps
    background: str = ""  # the colour under transparent pixels, "#rrggbb"; empty: the server drops alpha
    mean: tuple[float, ...] = ()  # that the model takes from pixels scaled to 0..1; empty: its file does not say
    std: tuple[float, ...] = ()  # by which it divides them then
    resize_to: int = 0  # of SHORTER_SIDE: its length in pixels before the model's size is cut out
    interpolation: Interpolation | None = None  # None: bilinear, as before there was a choice
    pad: str = ""  # of PAD: the colour around the image, "#rrggbb"; empty: black
    ignore_exif: bool = False  # images are not turned upright
    exact: bool = False  # as Pillow gives them, to the pixel: JPEGs are decoded at full size, and resized in one step
    colour_order: str = ""  # of the original network, "rgb" (or empty) or "bgr"; images are sent as RGB


@dataclass(frozen=True, slots=True)
class Training:
    """Where a model comes from. `test_accuracy` is 0 to 1, by PyTorch on `test_images` images."""

    network: str
    dataset: str
    recipe: str
    epochs: int
    seed: int
    test_accuracy: float
    test_images: int
    parameters: int
    created: datetime.datetime | None  # when its file was made, UTC
    precision: str = "float32"  # what it computes in: "float32", "float16", "int8"


@dataclass(frozen=True, slots=True)
class BatchCost:
    """How long one run over `batch_size` images takes, as the server measured it when it loaded the model."""

    batch_size: int
    run_us: float


@dataclass(frozen=True, slots=True)
class Serving:
    """How the server runs a model."""

    device: str  # "cpu", "cuda:0"
    provider: str  # onnxruntime's execution provider
    workers: int
    threads: int
    max_batch_size: int
    max_message_bytes: int  # of one request
    batch_curve: tuple[BatchCost, ...] = ()
    load_ms: int = 0
    memory_bytes: int = 0  # what the server's process grew by when it loaded the model
    golden_difference: float = 0.0  # largest difference of a probability of the golden set, on this device
    device_fallback: str = ""  # why it does not run on CUDA, where that was wanted
    digest: str = ""  # tells models of the same name and version apart; empty: the server does not tell it


@dataclass(frozen=True, slots=True)
class Model:
    """A model as a server knows it. What a refused model's file does not tell is None or empty."""

    name: str
    version: int
    state: ModelState
    reason: str  # why it was refused; where it is ready, why its file is, which has changed since it was loaded
    is_default: bool  # answers requests that name no model
    labels: tuple[str, ...]
    input: InputSize | None
    training: Training | None
    serving: Serving | None
    independent: bool = False  # each label has a probability of its own (sigmoid); else they add up to 1 (softmax)
    thresholds: tuple[float, ...] = ()  # of independent labels, one for all or one each: from where on one is given
    is_default_version: bool = False  # answers requests for this model that name no version
    temperature: float | None = None  # by which it divides its scores, so that it is calibrated; None: it is as trained
    known_from: float | None = None  # the largest probability from which on an image is `known`; None: it cannot tell
    is_shadow: bool = False  # runs the default version's images again, to be compared; callers get none of its answers
    canary: CanaryState | None = None  # how it does as its model's last canary, or did; None: it is none
    canary_reason: str = ""  # why it was promoted or rolled back
    embedding_size: int = 0  # numbers in an image's embedding; 0: the model publishes none

    @property
    def is_ready(self) -> bool:
        return self.state is ModelState.READY
