"""Owns the cases of ModelInfer, the Open Inference Protocol's call: the same images as `cases`, in tensors."""

from __future__ import annotations

import random
import struct
from collections.abc import Mapping, Sequence

import numpy as np
from google.protobuf.message import DecodeError
from tests.fuzz import headers
from tests.fuzz.case import ANSWERS, Case, framed
from tests.fuzz.mutations import mutate
from tests.fuzz.samples import COLOUR_SHAPE, ECHO_CLASSES, ECHO_SHAPE, image_files

from covey_proto.inference import open_inference_pb2 as pb

SERVICE = "inference.GRPCInferenceService"
HEADERS = headers.usual("ModelInfer", SERVICE)
# And DEADLINE_EXCEEDED, by the parameter `timeout`; UNIMPLEMENTED, for shared memory.
INFER_ANSWERS = ANSWERS | {4, 12}

NAMES = ("", "echo", "echo", "colour", "Echo", "../echo", "\x00", "é" * 40)
VERSIONS = ("", "", "1", "7", "0", "-1", "1.0", "one", "9" * 40, "²")
TENSORS = ("images", "images", "encoded", "Images", "probabilities", "", "x" * 3000)
DATATYPES = ("UINT8", "UINT8", "BYTES", "FP32", "INT8", "BOOL", "uint8", "")
SIZES = (-(2**63), -1, 0, 1, 2, 3, 4, 24, 32, 2**31, 2**62, 2**63 - 1)
PARAMETERS = (
    "timeout", "priority", "classification", "sequence_id", "shared_memory_region", "binary_data_output", "", "x",
)  # fmt: skip


def right_infer_case(number: int, chance: random.Random) -> Case:
    """A request in order, raw or typed: the brightest of the first ten pixels must have the highest probability."""
    expected = [chance.randrange(ECHO_CLASSES) for _ in range(chance.randint(1, 3))]
    images = []
    for brightest in expected:
        image = [chance.randrange(200) for _ in range(_bytes(ECHO_SHAPE))]
        image[brightest] = 255
        images.append(bytes(image))
    request = pb.ModelInferRequest(model_name="echo", id=str(number))
    tensor = request.inputs.add(name="images", datatype="UINT8", shape=[len(images), *ECHO_SHAPE])
    if chance.random() < 0.5:
        request.raw_input_contents.append(b"".join(images))
    else:
        tensor.contents.uint_contents.extend(b"".join(images))
    body = framed(request.SerializeToString())
    return Case(number, "infer right", HEADERS, body, frozenset({0}), expected=tuple(expected))


def best_classes(answer: bytes) -> tuple[int, ...]:
    """The most probable class of each image, by a ModelInferResponse; empty where it is none."""
    try:
        response = pb.ModelInferResponse.FromString(answer)
        rows = np.frombuffer(b"".join(response.raw_output_contents), "<f4").reshape(-1, ECHO_CLASSES)
    except (DecodeError, ValueError):
        return ()
    return tuple(rows.argmax(axis=1).tolist())


def infer_message_case(number: int, chance: random.Random) -> Case:
    """Protobuf bytes that are broken anywhere."""
    others = [_some_request(chance).SerializeToString() for _ in range(2)]
    message = mutate(chance, _some_request(chance).SerializeToString(), others)
    return Case(number, "infer message", HEADERS, framed(message), INFER_ANSWERS)


def infer_field_case(number: int, chance: random.Random) -> Case:
    """Whole messages whose fields say odd things, or contradict each other."""
    request = _some_request(chance)
    for _ in range(chance.randint(1, 3)):
        tensor = chance.choice(request.inputs) if request.inputs else request.inputs.add()
        match chance.randrange(10):
            case 0:
                request.model_name = chance.choice(NAMES)
            case 1:
                request.model_version = chance.choice(VERSIONS)
            case 2:
                tensor.name = chance.choice(TENSORS)
            case 3:
                tensor.datatype = chance.choice(DATATYPES)
            case 4:
                del tensor.shape[:]
                tensor.shape.extend(chance.choices(SIZES, k=chance.randrange(7)))
            case 5:
                _put_contents(chance, tensor.contents)
            case 6:
                _put_parameter(chance, chance.choice((request, tensor)).parameters)
            case 7:
                wanted = request.outputs.add(
                    name=chance.choice(("probabilities", "probabilities", "embedding", "labels", ""))
                )
                _put_parameter(chance, wanted.parameters)
            case 8:
                request.inputs.add().CopyFrom(tensor)
            case _:
                request.raw_input_contents.append(chance.randbytes(chance.choice((0, 1, 16, 17, 3000))))
    return Case(number, "infer fields", HEADERS, framed(request.SerializeToString()), INFER_ANSWERS)


def infer_image_case(number: int, chance: random.Random) -> Case:
    """Whole messages with broken image files, and broken lengths between them."""
    files = image_files()
    broken = [mutate(chance, chance.choice(files), files) for _ in range(chance.choice((1, 1, 3)))]
    request = _encoded(chance.choice(("echo", "colour")), broken)
    if chance.random() < 0.3:
        request.raw_input_contents[0] = mutate(chance, request.raw_input_contents[0], files)
    return Case(number, "infer image", HEADERS, framed(request.SerializeToString()), INFER_ANSWERS)


def _some_request(chance: random.Random) -> pb.ModelInferRequest:
    if chance.random() < 0.4:
        return _encoded("colour", chance.choices(image_files(), k=chance.choice((1, 1, 2))))
    count = chance.randint(1, 4)
    request = pb.ModelInferRequest(model_name="echo", id="an id")
    tensor = request.inputs.add(name="images", datatype="UINT8", shape=[count, *ECHO_SHAPE])
    pixels = chance.randbytes(count * _bytes(ECHO_SHAPE))
    if chance.random() < 0.7:
        request.raw_input_contents.append(pixels)
    else:
        tensor.contents.uint_contents.extend(pixels)
    if chance.random() < 0.5:
        request.outputs.add(name="probabilities").parameters["classification"].int64_param = 3
    return request


def _encoded(model: str, files: Sequence[bytes]) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name=model)
    request.inputs.add(name="encoded", datatype="BYTES", shape=[len(files)])
    request.raw_input_contents.append(b"".join(struct.pack("<I", len(file)) + file for file in files))
    return request


def _put_contents(chance: random.Random, contents: pb.InferTensorContents) -> None:
    match chance.randrange(4):
        case 0:
            contents.uint_contents.extend(chance.choices((0, 255, 256, 2**32 - 1), k=chance.choice((1, 16, 17))))
        case 1:
            contents.bytes_contents.extend(chance.choices((b"", b"\xff\xd8", *image_files()[:2]), k=3))
        case 2:
            contents.fp32_contents.extend([float("nan"), float("inf"), 1.0])
        case _:
            contents.int_contents.extend([-1] * _bytes(COLOUR_SHAPE))


def _put_parameter(chance: random.Random, parameters: Mapping[str, pb.InferParameter]) -> None:
    value = parameters[chance.choice(PARAMETERS)]  # of a map of messages: made where it is not there
    match chance.randrange(5):
        case 0:
            value.bool_param = True
        case 1:
            value.int64_param = chance.choice((-(2**63), -1, 0, 1, 3, 11, 1_000, 2**63 - 1))
        case 2:
            value.string_param = chance.choice(("", "1", "x" * 3000))
        case 3:
            value.double_param = chance.choice((0.5, float("nan"), 1e300))
        case _:
            value.uint64_param = 2**64 - 1


def _bytes(shape: tuple[int, int, int]) -> int:
    height, width, channels = shape
    return height * width * channels
