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
    __slots__ = ("model", "version", "top_k", "encoded", "pixels", "embedding")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    ENCODED_FIELD_NUMBER: _ClassVar[int]
    PIXELS_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    top_k: int
    encoded: EncodedImages
    pixels: Pixels
    embedding: bool
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., top_k: _Optional[int] = ..., encoded: _Optional[_Union[EncodedImages, _Mapping]] = ..., pixels: _Optional[_Union[Pixels, _Mapping]] = ..., embedding: _Optional[bool] = ...) -> None: ...

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
    __slots__ = ("classes", "error", "known", "embedding")
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    classes: _containers.RepeatedCompositeFieldContainer[Class]
    error: ImageError
    known: bool
    embedding: bytes
    def __init__(self, classes: _Optional[_Iterable[_Union[Class, _Mapping]]] = ..., error: _Optional[_Union[ImageError, _Mapping]] = ..., known: _Optional[bool] = ..., embedding: _Optional[bytes] = ...) -> None: ...

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

class ChooseVersionRequest(_message.Message):
    __slots__ = ("model", "action", "version")
    class Action(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ACTION_UNSPECIFIED: _ClassVar[ChooseVersionRequest.Action]
        ACTION_PROMOTE: _ClassVar[ChooseVersionRequest.Action]
        ACTION_ROLL_BACK: _ClassVar[ChooseVersionRequest.Action]
        ACTION_CANARY: _ClassVar[ChooseVersionRequest.Action]
        ACTION_SHADOW: _ClassVar[ChooseVersionRequest.Action]
    ACTION_UNSPECIFIED: ChooseVersionRequest.Action
    ACTION_PROMOTE: ChooseVersionRequest.Action
    ACTION_ROLL_BACK: ChooseVersionRequest.Action
    ACTION_CANARY: ChooseVersionRequest.Action
    ACTION_SHADOW: ChooseVersionRequest.Action
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    model: str
    action: ChooseVersionRequest.Action
    version: int
    def __init__(self, model: _Optional[str] = ..., action: _Optional[_Union[ChooseVersionRequest.Action, str]] = ..., version: _Optional[int] = ...) -> None: ...

class ChooseVersionResponse(_message.Message):
    __slots__ = ("model", "default_version", "canary_version", "shadow_version")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_VERSION_FIELD_NUMBER: _ClassVar[int]
    CANARY_VERSION_FIELD_NUMBER: _ClassVar[int]
    SHADOW_VERSION_FIELD_NUMBER: _ClassVar[int]
    model: str
    default_version: int
    canary_version: int
    shadow_version: int
    def __init__(self, model: _Optional[str] = ..., default_version: _Optional[int] = ..., canary_version: _Optional[int] = ..., shadow_version: _Optional[int] = ...) -> None: ...

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
    __slots__ = ("name", "version", "state", "reason", "is_default", "info", "serving", "is_default_version", "is_shadow", "canary", "canary_reason")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Model.State]
        STATE_READY: _ClassVar[Model.State]
        STATE_REFUSED: _ClassVar[Model.State]
    STATE_UNSPECIFIED: Model.State
    STATE_READY: Model.State
    STATE_REFUSED: Model.State
    class Canary(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        CANARY_UNSPECIFIED: _ClassVar[Model.Canary]
        CANARY_CHECKING: _ClassVar[Model.Canary]
        CANARY_TRIAL: _ClassVar[Model.Canary]
        CANARY_PROMOTED: _ClassVar[Model.Canary]
        CANARY_ROLLED_BACK: _ClassVar[Model.Canary]
    CANARY_UNSPECIFIED: Model.Canary
    CANARY_CHECKING: Model.Canary
    CANARY_TRIAL: Model.Canary
    CANARY_PROMOTED: Model.Canary
    CANARY_ROLLED_BACK: Model.Canary
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    IS_DEFAULT_FIELD_NUMBER: _ClassVar[int]
    INFO_FIELD_NUMBER: _ClassVar[int]
    SERVING_FIELD_NUMBER: _ClassVar[int]
    IS_DEFAULT_VERSION_FIELD_NUMBER: _ClassVar[int]
    IS_SHADOW_FIELD_NUMBER: _ClassVar[int]
    CANARY_FIELD_NUMBER: _ClassVar[int]
    CANARY_REASON_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: int
    state: Model.State
    reason: str
    is_default: bool
    info: ModelInfo
    serving: Serving
    is_default_version: bool
    is_shadow: bool
    canary: Model.Canary
    canary_reason: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ..., state: _Optional[_Union[Model.State, str]] = ..., reason: _Optional[str] = ..., is_default: _Optional[bool] = ..., info: _Optional[_Union[ModelInfo, _Mapping]] = ..., serving: _Optional[_Union[Serving, _Mapping]] = ..., is_default_version: _Optional[bool] = ..., is_shadow: _Optional[bool] = ..., canary: _Optional[_Union[Model.Canary, str]] = ..., canary_reason: _Optional[str] = ...) -> None: ...

class Serving(_message.Message):
    __slots__ = ("device", "provider", "workers", "threads", "max_batch_size", "max_message_bytes", "batch_curve", "load_ms", "memory_bytes", "golden_difference", "device_fallback", "digest")
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
    DIGEST_FIELD_NUMBER: _ClassVar[int]
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
    digest: str
    def __init__(self, device: _Optional[str] = ..., provider: _Optional[str] = ..., workers: _Optional[int] = ..., threads: _Optional[int] = ..., max_batch_size: _Optional[int] = ..., max_message_bytes: _Optional[int] = ..., batch_curve: _Optional[_Iterable[_Union[BatchCost, _Mapping]]] = ..., load_ms: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., golden_difference: _Optional[float] = ..., device_fallback: _Optional[str] = ..., digest: _Optional[str] = ...) -> None: ...

class BatchCost(_message.Message):
    __slots__ = ("batch_size", "run_us")
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    RUN_US_FIELD_NUMBER: _ClassVar[int]
    batch_size: int
    run_us: float
    def __init__(self, batch_size: _Optional[int] = ..., run_us: _Optional[float] = ...) -> None: ...

class ModelInfo(_message.Message):
    __slots__ = ("name", "version", "labels", "input", "training", "build", "golden_set", "answer", "thresholds", "source", "calibration", "unknown", "usual_answers", "embedding_size")
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
    CALIBRATION_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    USUAL_ANSWERS_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_SIZE_FIELD_NUMBER: _ClassVar[int]
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
    calibration: Calibration
    unknown: Unknown
    usual_answers: UsualAnswers
    embedding_size: int
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ..., labels: _Optional[_Iterable[str]] = ..., input: _Optional[_Union[ImageSpec, _Mapping]] = ..., training: _Optional[_Union[Training, _Mapping]] = ..., build: _Optional[_Union[Build, _Mapping]] = ..., golden_set: _Optional[_Union[GoldenSet, _Mapping]] = ..., answer: _Optional[_Union[ModelInfo.Answer, str]] = ..., thresholds: _Optional[_Iterable[float]] = ..., source: _Optional[_Union[Source, _Mapping]] = ..., calibration: _Optional[_Union[Calibration, _Mapping]] = ..., unknown: _Optional[_Union[Unknown, _Mapping]] = ..., usual_answers: _Optional[_Union[UsualAnswers, _Mapping]] = ..., embedding_size: _Optional[int] = ...) -> None: ...

class Calibration(_message.Message):
    __slots__ = ("temperature", "images", "error_before", "error_after")
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    ERROR_BEFORE_FIELD_NUMBER: _ClassVar[int]
    ERROR_AFTER_FIELD_NUMBER: _ClassVar[int]
    temperature: float
    images: int
    error_before: float
    error_after: float
    def __init__(self, temperature: _Optional[float] = ..., images: _Optional[int] = ..., error_before: _Optional[float] = ..., error_after: _Optional[float] = ...) -> None: ...

class Unknown(_message.Message):
    __slots__ = ("threshold", "false_alarms", "test_false_alarms", "images")
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    FALSE_ALARMS_FIELD_NUMBER: _ClassVar[int]
    TEST_FALSE_ALARMS_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    threshold: float
    false_alarms: float
    test_false_alarms: float
    images: int
    def __init__(self, threshold: _Optional[float] = ..., false_alarms: _Optional[float] = ..., test_false_alarms: _Optional[float] = ..., images: _Optional[int] = ...) -> None: ...

class UsualAnswers(_message.Message):
    __slots__ = ("images", "classes", "confidence")
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    images: int
    classes: _containers.RepeatedScalarFieldContainer[int]
    confidence: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, images: _Optional[int] = ..., classes: _Optional[_Iterable[int]] = ..., confidence: _Optional[_Iterable[int]] = ...) -> None: ...

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

class ExplainRequest(_message.Message):
    __slots__ = ("model", "version", "encoded", "pixels", "maps", "heat_map", "unit")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ENCODED_FIELD_NUMBER: _ClassVar[int]
    PIXELS_FIELD_NUMBER: _ClassVar[int]
    MAPS_FIELD_NUMBER: _ClassVar[int]
    HEAT_MAP_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    encoded: bytes
    pixels: bytes
    maps: MapsRequest
    heat_map: HeatMapRequest
    unit: UnitRequest
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., encoded: _Optional[bytes] = ..., pixels: _Optional[bytes] = ..., maps: _Optional[_Union[MapsRequest, _Mapping]] = ..., heat_map: _Optional[_Union[HeatMapRequest, _Mapping]] = ..., unit: _Optional[_Union[UnitRequest, _Mapping]] = ...) -> None: ...

class MapsRequest(_message.Message):
    __slots__ = ("layers", "channels", "side", "bytes", "float32")
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    SIDE_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    FLOAT32_FIELD_NUMBER: _ClassVar[int]
    layers: _containers.RepeatedScalarFieldContainer[int]
    channels: int
    side: int
    bytes: int
    float32: bool
    def __init__(self, layers: _Optional[_Iterable[int]] = ..., channels: _Optional[int] = ..., side: _Optional[int] = ..., bytes: _Optional[int] = ..., float32: _Optional[bool] = ...) -> None: ...

class HeatMapRequest(_message.Message):
    __slots__ = ("class_index", "method")
    CLASS_INDEX_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    class_index: int
    method: str
    def __init__(self, class_index: _Optional[int] = ..., method: _Optional[str] = ...) -> None: ...

class UnitRequest(_message.Message):
    __slots__ = ("layer", "channel", "y", "x")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    X_FIELD_NUMBER: _ClassVar[int]
    layer: int
    channel: int
    y: int
    x: int
    def __init__(self, layer: _Optional[int] = ..., channel: _Optional[int] = ..., y: _Optional[int] = ..., x: _Optional[int] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("model", "version", "classes", "image", "layers", "maps", "heat_map", "unit", "timing")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    MAPS_FIELD_NUMBER: _ClassVar[int]
    HEAT_MAP_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    classes: _containers.RepeatedCompositeFieldContainer[Class]
    image: ExplainedImage
    layers: _containers.RepeatedCompositeFieldContainer[Layer]
    maps: _containers.RepeatedCompositeFieldContainer[LayerMaps]
    heat_map: HeatMap
    unit: Unit
    timing: ExplainTiming
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., classes: _Optional[_Iterable[_Union[Class, _Mapping]]] = ..., image: _Optional[_Union[ExplainedImage, _Mapping]] = ..., layers: _Optional[_Iterable[_Union[Layer, _Mapping]]] = ..., maps: _Optional[_Iterable[_Union[LayerMaps, _Mapping]]] = ..., heat_map: _Optional[_Union[HeatMap, _Mapping]] = ..., unit: _Optional[_Union[Unit, _Mapping]] = ..., timing: _Optional[_Union[ExplainTiming, _Mapping]] = ...) -> None: ...

class ExplainedImage(_message.Message):
    __slots__ = ("height", "width", "channels", "pixels")
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    PIXELS_FIELD_NUMBER: _ClassVar[int]
    height: int
    width: int
    channels: int
    pixels: bytes
    def __init__(self, height: _Optional[int] = ..., width: _Optional[int] = ..., channels: _Optional[int] = ..., pixels: _Optional[bytes] = ...) -> None: ...

class Layer(_message.Message):
    __slots__ = ("index", "name", "kind", "op", "detail", "shape", "parameters", "inputs", "has_units", "output")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    OP_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    HAS_UNITS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    index: int
    name: str
    kind: str
    op: str
    detail: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    parameters: int
    inputs: _containers.RepeatedScalarFieldContainer[int]
    has_units: bool
    output: str
    def __init__(self, index: _Optional[int] = ..., name: _Optional[str] = ..., kind: _Optional[str] = ..., op: _Optional[str] = ..., detail: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., parameters: _Optional[int] = ..., inputs: _Optional[_Iterable[int]] = ..., has_units: _Optional[bool] = ..., output: _Optional[str] = ...) -> None: ...

class LayerMaps(_message.Message):
    __slots__ = ("layer", "channels", "height", "width", "values", "low", "high", "strength", "encoding")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    STRENGTH_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    layer: int
    channels: _containers.RepeatedScalarFieldContainer[int]
    height: int
    width: int
    values: bytes
    low: _containers.RepeatedScalarFieldContainer[float]
    high: _containers.RepeatedScalarFieldContainer[float]
    strength: _containers.RepeatedScalarFieldContainer[float]
    encoding: str
    def __init__(self, layer: _Optional[int] = ..., channels: _Optional[_Iterable[int]] = ..., height: _Optional[int] = ..., width: _Optional[int] = ..., values: _Optional[bytes] = ..., low: _Optional[_Iterable[float]] = ..., high: _Optional[_Iterable[float]] = ..., strength: _Optional[_Iterable[float]] = ..., encoding: _Optional[str] = ...) -> None: ...

class HeatMap(_message.Message):
    __slots__ = ("method", "exact", "class_index", "label", "height", "width", "values", "low", "high", "score", "bias", "images", "compute_us", "detail")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    CLASS_INDEX_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    BIAS_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_US_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    method: str
    exact: bool
    class_index: int
    label: str
    height: int
    width: int
    values: bytes
    low: float
    high: float
    score: float
    bias: float
    images: int
    compute_us: int
    detail: str
    def __init__(self, method: _Optional[str] = ..., exact: _Optional[bool] = ..., class_index: _Optional[int] = ..., label: _Optional[str] = ..., height: _Optional[int] = ..., width: _Optional[int] = ..., values: _Optional[bytes] = ..., low: _Optional[float] = ..., high: _Optional[float] = ..., score: _Optional[float] = ..., bias: _Optional[float] = ..., images: _Optional[int] = ..., compute_us: _Optional[int] = ..., detail: _Optional[str] = ...) -> None: ...

class Unit(_message.Message):
    __slots__ = ("layer", "channel", "y", "x", "operation", "receptive_field", "channels", "height", "width", "first_channel", "rows", "columns", "inputs", "weights", "places", "rest", "bias", "result", "engine_value", "next", "channel_sums")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    X_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    RECEPTIVE_FIELD_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    FIRST_CHANNEL_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    PLACES_FIELD_NUMBER: _ClassVar[int]
    REST_FIELD_NUMBER: _ClassVar[int]
    BIAS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ENGINE_VALUE_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_SUMS_FIELD_NUMBER: _ClassVar[int]
    layer: int
    channel: int
    y: int
    x: int
    operation: str
    receptive_field: Box
    channels: int
    height: int
    width: int
    first_channel: int
    rows: _containers.RepeatedScalarFieldContainer[int]
    columns: _containers.RepeatedScalarFieldContainer[int]
    inputs: bytes
    weights: bytes
    places: _containers.RepeatedScalarFieldContainer[int]
    rest: float
    bias: float
    result: float
    engine_value: float
    next: _containers.RepeatedCompositeFieldContainer[UnitStep]
    channel_sums: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, layer: _Optional[int] = ..., channel: _Optional[int] = ..., y: _Optional[int] = ..., x: _Optional[int] = ..., operation: _Optional[str] = ..., receptive_field: _Optional[_Union[Box, _Mapping]] = ..., channels: _Optional[int] = ..., height: _Optional[int] = ..., width: _Optional[int] = ..., first_channel: _Optional[int] = ..., rows: _Optional[_Iterable[int]] = ..., columns: _Optional[_Iterable[int]] = ..., inputs: _Optional[bytes] = ..., weights: _Optional[bytes] = ..., places: _Optional[_Iterable[int]] = ..., rest: _Optional[float] = ..., bias: _Optional[float] = ..., result: _Optional[float] = ..., engine_value: _Optional[float] = ..., next: _Optional[_Iterable[_Union[UnitStep, _Mapping]]] = ..., channel_sums: _Optional[_Iterable[float]] = ...) -> None: ...

class UnitStep(_message.Message):
    __slots__ = ("layer", "y", "x", "height", "width", "inputs", "value")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    X_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    layer: int
    y: int
    x: int
    height: int
    width: int
    inputs: _containers.RepeatedScalarFieldContainer[float]
    value: float
    def __init__(self, layer: _Optional[int] = ..., y: _Optional[int] = ..., x: _Optional[int] = ..., height: _Optional[int] = ..., width: _Optional[int] = ..., inputs: _Optional[_Iterable[float]] = ..., value: _Optional[float] = ...) -> None: ...

class Box(_message.Message):
    __slots__ = ("top", "left", "bottom", "right")
    TOP_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    BOTTOM_FIELD_NUMBER: _ClassVar[int]
    RIGHT_FIELD_NUMBER: _ClassVar[int]
    top: int
    left: int
    bottom: int
    right: int
    def __init__(self, top: _Optional[int] = ..., left: _Optional[int] = ..., bottom: _Optional[int] = ..., right: _Optional[int] = ...) -> None: ...

class ExplainTiming(_message.Message):
    __slots__ = ("total_us", "decode_us", "queue_us", "compute_us", "open_us", "images")
    TOTAL_US_FIELD_NUMBER: _ClassVar[int]
    DECODE_US_FIELD_NUMBER: _ClassVar[int]
    QUEUE_US_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_US_FIELD_NUMBER: _ClassVar[int]
    OPEN_US_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    total_us: int
    decode_us: int
    queue_us: int
    compute_us: int
    open_us: int
    images: int
    def __init__(self, total_us: _Optional[int] = ..., decode_us: _Optional[int] = ..., queue_us: _Optional[int] = ..., compute_us: _Optional[int] = ..., open_us: _Optional[int] = ..., images: _Optional[int] = ...) -> None: ...
