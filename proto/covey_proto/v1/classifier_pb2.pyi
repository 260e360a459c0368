import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ClassifyRequest(_message.Message):
    __slots__ = ("model", "version", "top_k", "encoded", "pixels")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    ENCODED_FIELD_NUMBER: _ClassVar[int]
    PIXELS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    top_k: int
    encoded: EncodedImages
    pixels: Pixels
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., top_k: _Optional[int] = ..., encoded: _Optional[_Union[EncodedImages, _Mapping]] = ..., pixels: _Optional[_Union[Pixels, _Mapping]] = ...) -> None: ...

class EncodedImages(_message.Message):
    __slots__ = ("images",)
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    images: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, images: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Pixels(_message.Message):
    __slots__ = ("data", "height", "width", "channels")
    DATA_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    height: int
    width: int
    channels: int
    def __init__(self, data: _Optional[bytes] = ..., height: _Optional[int] = ..., width: _Optional[int] = ..., channels: _Optional[int] = ...) -> None: ...

class ClassifyResponse(_message.Message):
    __slots__ = ("results", "model", "version", "timing", "answer")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[Result]
    model: str
    version: int
    timing: Timing
    answer: ModelInfo.Answer
    def __init__(self, results: _Optional[_Iterable[_Union[Result, _Mapping]]] = ..., model: _Optional[str] = ..., version: _Optional[int] = ..., timing: _Optional[_Union[Timing, _Mapping]] = ..., answer: _Optional[_Union[ModelInfo.Answer, str]] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("classes", "error")
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    classes: _containers.RepeatedCompositeFieldContainer[Class]
    error: ImageError
    def __init__(self, classes: _Optional[_Iterable[_Union[Class, _Mapping]]] = ..., error: _Optional[_Union[ImageError, _Mapping]] = ...) -> None: ...

class Class(_message.Message):
    __slots__ = ("label", "index", "probability")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    label: str
    index: int
    probability: float
    def __init__(self, label: _Optional[str] = ..., index: _Optional[int] = ..., probability: _Optional[float] = ...) -> None: ...

class ImageError(_message.Message):
    __slots__ = ("reason", "message")
    class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REASON_UNSPECIFIED: _ClassVar[ImageError.Reason]
        REASON_INVALID: _ClassVar[ImageError.Reason]
        REASON_TOO_LARGE: _ClassVar[ImageError.Reason]
        REASON_NO_ANSWER: _ClassVar[ImageError.Reason]
    REASON_UNSPECIFIED: ImageError.Reason
    REASON_INVALID: ImageError.Reason
    REASON_TOO_LARGE: ImageError.Reason
    REASON_NO_ANSWER: ImageError.Reason
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    reason: ImageError.Reason
    message: str
    def __init__(self, reason: _Optional[_Union[ImageError.Reason, str]] = ..., message: _Optional[str] = ...) -> None: ...

class Timing(_message.Message):
    __slots__ = ("total_us", "decode_us", "queue_us", "compute_us", "batch_size", "device")
    TOTAL_US_FIELD_NUMBER: _ClassVar[int]
    DECODE_US_FIELD_NUMBER: _ClassVar[int]
    QUEUE_US_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_US_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    total_us: int
    decode_us: int
    queue_us: int
    compute_us: int
    batch_size: int
    device: str
    def __init__(self, total_us: _Optional[int] = ..., decode_us: _Optional[int] = ..., queue_us: _Optional[int] = ..., compute_us: _Optional[int] = ..., batch_size: _Optional[int] = ..., device: _Optional[str] = ...) -> None: ...

class ClassifyStreamRequest(_message.Message):
    __slots__ = ("id", "request", "deadline_us")
    ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_US_FIELD_NUMBER: _ClassVar[int]
    id: str
    request: ClassifyRequest
    deadline_us: int
    def __init__(self, id: _Optional[str] = ..., request: _Optional[_Union[ClassifyRequest, _Mapping]] = ..., deadline_us: _Optional[int] = ...) -> None: ...

class ClassifyStreamResponse(_message.Message):
    __slots__ = ("id", "response", "error")
    ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    id: str
    response: ClassifyResponse
    error: StreamError
    def __init__(self, id: _Optional[str] = ..., response: _Optional[_Union[ClassifyResponse, _Mapping]] = ..., error: _Optional[_Union[StreamError, _Mapping]] = ...) -> None: ...

class StreamError(_message.Message):
    __slots__ = ("code", "message", "retry_after_ms")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    retry_after_ms: int
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., retry_after_ms: _Optional[int] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ("name", "version")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: int
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class GetModelResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: Model
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("name", "version", "state", "reason", "is_default", "info", "serving")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Model.State]
        STATE_READY: _ClassVar[Model.State]
        STATE_REFUSED: _ClassVar[Model.State]
    STATE_UNSPECIFIED: Model.State
    STATE_READY: Model.State
    STATE_REFUSED: Model.State
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    IS_DEFAULT_FIELD_NUMBER: _ClassVar[int]
    INFO_FIELD_NUMBER: _ClassVar[int]
    SERVING_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: int
    state: Model.State
    reason: str
    is_default: bool
    info: ModelInfo
    serving: Serving
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ..., state: _Optional[_Union[Model.State, str]] = ..., reason: _Optional[str] = ..., is_default: _Optional[bool] = ..., info: _Optional[_Union[ModelInfo, _Mapping]] = ..., serving: _Optional[_Union[Serving, _Mapping]] = ...) -> None: ...

class Serving(_message.Message):
    __slots__ = ("device", "provider", "workers", "threads", "max_batch_size", "max_message_bytes", "batch_curve", "load_ms", "memory_bytes", "golden_difference", "device_fallback")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    THREADS_FIELD_NUMBER: _ClassVar[int]
    MAX_BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    BATCH_CURVE_FIELD_NUMBER: _ClassVar[int]
    LOAD_MS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    GOLDEN_DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FALLBACK_FIELD_NUMBER: _ClassVar[int]
    device: str
    provider: str
    workers: int
    threads: int
    max_batch_size: int
    max_message_bytes: int
    batch_curve: _containers.RepeatedCompositeFieldContainer[BatchCost]
    load_ms: int
    memory_bytes: int
    golden_difference: float
    device_fallback: str
    def __init__(self, device: _Optional[str] = ..., provider: _Optional[str] = ..., workers: _Optional[int] = ..., threads: _Optional[int] = ..., max_batch_size: _Optional[int] = ..., max_message_bytes: _Optional[int] = ..., batch_curve: _Optional[_Iterable[_Union[BatchCost, _Mapping]]] = ..., load_ms: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., golden_difference: _Optional[float] = ..., device_fallback: _Optional[str] = ...) -> None: ...

class BatchCost(_message.Message):
    __slots__ = ("batch_size", "run_us")
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    RUN_US_FIELD_NUMBER: _ClassVar[int]
    batch_size: int
    run_us: float
    def __init__(self, batch_size: _Optional[int] = ..., run_us: _Optional[float] = ...) -> None: ...

class ModelInfo(_message.Message):
    __slots__ = ("name", "version", "labels", "input", "training", "build", "golden_set", "answer", "thresholds", "source")
    class Answer(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ANSWER_UNSPECIFIED: _ClassVar[ModelInfo.Answer]
        ANSWER_EXCLUSIVE: _ClassVar[ModelInfo.Answer]
        ANSWER_INDEPENDENT: _ClassVar[ModelInfo.Answer]
    ANSWER_UNSPECIFIED: ModelInfo.Answer
    ANSWER_EXCLUSIVE: ModelInfo.Answer
    ANSWER_INDEPENDENT: ModelInfo.Answer
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    TRAINING_FIELD_NUMBER: _ClassVar[int]
    BUILD_FIELD_NUMBER: _ClassVar[int]
    GOLDEN_SET_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    THRESHOLDS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: int
    labels: _containers.RepeatedScalarFieldContainer[str]
    input: ImageSpec
    training: Training
    build: Build
    golden_set: GoldenSet
    answer: ModelInfo.Answer
    thresholds: _containers.RepeatedScalarFieldContainer[float]
    source: Source
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ..., labels: _Optional[_Iterable[str]] = ..., input: _Optional[_Union[ImageSpec, _Mapping]] = ..., training: _Optional[_Union[Training, _Mapping]] = ..., build: _Optional[_Union[Build, _Mapping]] = ..., golden_set: _Optional[_Union[GoldenSet, _Mapping]] = ..., answer: _Optional[_Union[ModelInfo.Answer, str]] = ..., thresholds: _Optional[_Iterable[float]] = ..., source: _Optional[_Union[Source, _Mapping]] = ...) -> None: ...

class Source(_message.Message):
    __slots__ = ("kind", "file", "sha256", "input_name", "input_datatype", "input_layout", "output_name", "golden_is_made", "samples", "difference", "max_batch")
    KIND_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    INPUT_NAME_FIELD_NUMBER: _ClassVar[int]
    INPUT_DATATYPE_FIELD_NUMBER: _ClassVar[int]
    INPUT_LAYOUT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_NAME_FIELD_NUMBER: _ClassVar[int]
    GOLDEN_IS_MADE_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    MAX_BATCH_FIELD_NUMBER: _ClassVar[int]
    kind: str
    file: str
    sha256: str
    input_name: str
    input_datatype: str
    input_layout: str
    output_name: str
    golden_is_made: bool
    samples: int
    difference: float
    max_batch: int
    def __init__(self, kind: _Optional[str] = ..., file: _Optional[str] = ..., sha256: _Optional[str] = ..., input_name: _Optional[str] = ..., input_datatype: _Optional[str] = ..., input_layout: _Optional[str] = ..., output_name: _Optional[str] = ..., golden_is_made: _Optional[bool] = ..., samples: _Optional[int] = ..., difference: _Optional[float] = ..., max_batch: _Optional[int] = ...) -> None: ...

class OriginalPath(_message.Message):
    __slots__ = ("unused_nodes", "graph", "output_datatype", "output_shape", "activation")
    UNUSED_NODES_FIELD_NUMBER: _ClassVar[int]
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_DATATYPE_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_SHAPE_FIELD_NUMBER: _ClassVar[int]
    ACTIVATION_FIELD_NUMBER: _ClassVar[int]
    unused_nodes: _containers.RepeatedScalarFieldContainer[str]
    graph: bytes
    output_datatype: str
    output_shape: _containers.RepeatedScalarFieldContainer[int]
    activation: str
    def __init__(self, unused_nodes: _Optional[_Iterable[str]] = ..., graph: _Optional[bytes] = ..., output_datatype: _Optional[str] = ..., output_shape: _Optional[_Iterable[int]] = ..., activation: _Optional[str] = ...) -> None: ...

class ImageSpec(_message.Message):
    __slots__ = ("height", "width", "channels", "resize", "crop", "background", "mean", "std", "resize_to", "interpolation", "pad", "ignore_exif", "exact", "colour_order", "floor_crop")
    class Resize(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        RESIZE_UNSPECIFIED: _ClassVar[ImageSpec.Resize]
        RESIZE_STRETCH: _ClassVar[ImageSpec.Resize]
        RESIZE_CENTER_CROP: _ClassVar[ImageSpec.Resize]
        RESIZE_SHORTER_SIDE: _ClassVar[ImageSpec.Resize]
        RESIZE_PAD: _ClassVar[ImageSpec.Resize]
    RESIZE_UNSPECIFIED: ImageSpec.Resize
    RESIZE_STRETCH: ImageSpec.Resize
    RESIZE_CENTER_CROP: ImageSpec.Resize
    RESIZE_SHORTER_SIDE: ImageSpec.Resize
    RESIZE_PAD: ImageSpec.Resize
    class Interpolation(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        INTERPOLATION_UNSPECIFIED: _ClassVar[ImageSpec.Interpolation]
        INTERPOLATION_BILINEAR: _ClassVar[ImageSpec.Interpolation]
        INTERPOLATION_BICUBIC: _ClassVar[ImageSpec.Interpolation]
        INTERPOLATION_LANCZOS: _ClassVar[ImageSpec.Interpolation]
        INTERPOLATION_NEAREST: _ClassVar[ImageSpec.Interpolation]
    INTERPOLATION_UNSPECIFIED: ImageSpec.Interpolation
    INTERPOLATION_BILINEAR: ImageSpec.Interpolation
    INTERPOLATION_BICUBIC: ImageSpec.Interpolation
    INTERPOLATION_LANCZOS: ImageSpec.Interpolation
    INTERPOLATION_NEAREST: ImageSpec.Interpolation
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    RESIZE_FIELD_NUMBER: _ClassVar[int]
    CROP_FIELD_NUMBER: _ClassVar[int]
    BACKGROUND_FIELD_NUMBER: _ClassVar[int]
    MEAN_FIELD_NUMBER: _ClassVar[int]
    STD_FIELD_NUMBER: _ClassVar[int]
    RESIZE_TO_FIELD_NUMBER: _ClassVar[int]
    INTERPOLATION_FIELD_NUMBER: _ClassVar[int]
    PAD_FIELD_NUMBER: _ClassVar[int]
    IGNORE_EXIF_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    COLOUR_ORDER_FIELD_NUMBER: _ClassVar[int]
    FLOOR_CROP_FIELD_NUMBER: _ClassVar[int]
    height: int
    width: int
    channels: int
    resize: ImageSpec.Resize
    crop: float
    background: str
    mean: _containers.RepeatedScalarFieldContainer[float]
    std: _containers.RepeatedScalarFieldContainer[float]
    resize_to: int
    interpolation: ImageSpec.Interpolation
    pad: str
    ignore_exif: bool
    exact: bool
    colour_order: str
    floor_crop: bool
    def __init__(self, height: _Optional[int] = ..., width: _Optional[int] = ..., channels: _Optional[int] = ..., resize: _Optional[_Union[ImageSpec.Resize, str]] = ..., crop: _Optional[float] = ..., background: _Optional[str] = ..., mean: _Optional[_Iterable[float]] = ..., std: _Optional[_Iterable[float]] = ..., resize_to: _Optional[int] = ..., interpolation: _Optional[_Union[ImageSpec.Interpolation, str]] = ..., pad: _Optional[str] = ..., ignore_exif: _Optional[bool] = ..., exact: _Optional[bool] = ..., colour_order: _Optional[str] = ..., floor_crop: _Optional[bool] = ...) -> None: ...

class Training(_message.Message):
    __slots__ = ("network", "dataset", "recipe", "epochs", "seed", "test_accuracy", "test_images", "parameters", "started_from")
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    TEST_ACCURACY_FIELD_NUMBER: _ClassVar[int]
    TEST_IMAGES_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    STARTED_FROM_FIELD_NUMBER: _ClassVar[int]
    network: str
    dataset: str
    recipe: str
    epochs: int
    seed: int
    test_accuracy: float
    test_images: int
    parameters: int
    started_from: str
    def __init__(self, network: _Optional[str] = ..., dataset: _Optional[str] = ..., recipe: _Optional[str] = ..., epochs: _Optional[int] = ..., seed: _Optional[int] = ..., test_accuracy: _Optional[float] = ..., test_images: _Optional[int] = ..., parameters: _Optional[int] = ..., started_from: _Optional[str] = ...) -> None: ...

class Build(_message.Message):
    __slots__ = ("created", "covey_version", "torch_version", "onnx_version", "opset", "precision")
    CREATED_FIELD_NUMBER: _ClassVar[int]
    COVEY_VERSION_FIELD_NUMBER: _ClassVar[int]
    TORCH_VERSION_FIELD_NUMBER: _ClassVar[int]
    ONNX_VERSION_FIELD_NUMBER: _ClassVar[int]
    OPSET_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    created: _timestamp_pb2.Timestamp
    covey_version: str
    torch_version: str
    onnx_version: str
    opset: int
    precision: str
    def __init__(self, created: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., covey_version: _Optional[str] = ..., torch_version: _Optional[str] = ..., onnx_version: _Optional[str] = ..., opset: _Optional[int] = ..., precision: _Optional[str] = ...) -> None: ...

class GoldenSet(_message.Message):
    __slots__ = ("pixels", "probabilities", "tolerance", "reference")
    PIXELS_FIELD_NUMBER: _ClassVar[int]
    PROBABILITIES_FIELD_NUMBER: _ClassVar[int]
    TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    pixels: bytes
    probabilities: _containers.RepeatedScalarFieldContainer[float]
    tolerance: float
    reference: str
    def __init__(self, pixels: _Optional[bytes] = ..., probabilities: _Optional[_Iterable[float]] = ..., tolerance: _Optional[float] = ..., reference: _Optional[str] = ...) -> None: ...
