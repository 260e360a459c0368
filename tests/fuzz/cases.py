"""Owns the cases: what request number N of a run is. The same seed and number give the same bytes in every run.

The requests of covey.v1 are made here, those of ModelInfer in `infer_cases`. Which statuses came, and everything else
about running, is `campaign`'s.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator

from tests.fuzz import headers
from tests.fuzz.case import Case, framed
from tests.fuzz.infer_cases import infer_field_case, infer_image_case, infer_message_case, right_infer_case
from tests.fuzz.mutations import NUMBERS, mutate
from tests.fuzz.samples import COLOUR_SHAPE, ECHO_CLASSES, ECHO_SHAPE, image_files

from covey_proto.v1 import classifier_pb2 as pb

METHODS = ("Classify", "Classify", "Classify", "Classify", "GetModel", "ListModels")
ECHO_BYTES = ECHO_SHAPE[0] * ECHO_SHAPE[1] * ECHO_SHAPE[2]
COLOUR_BYTES = COLOUR_SHAPE[0] * COLOUR_SHAPE[1] * COLOUR_SHAPE[2]
NAMES = ("", "echo", "colour", "colour", "Echo", "echo/1", "../echo", "\x00", "é" * 40, "x" * 3000)
COUNTS = (0, 1, 2, 7, 10, 11, 255, 2**31, 2**32 - 1)
VERSIONS = (0, 0, 0, 1, 7, -1, 2**63 - 1, -(2**63))


def cases(seed: int, count: int) -> Iterator[Case]:
    """The cases 0 to `count` - 1 of a seed."""
    return (case(seed, number) for number in range(count))


def case(seed: int, number: int) -> Case:
    """Case `number` of a seed."""
    chance = random.Random(f"{seed}/{number}")
    make = chance.choices(_KINDS, _SHARES)[0]
    return make(number, chance)


def right_case(number: int, chance: random.Random) -> Case:
    """A request in order, of one to three images: the server must find the brightest of the first ten pixels."""
    images = [[chance.randrange(200) for _ in range(ECHO_BYTES)] for _ in range(chance.randint(1, 3))]
    expected = [chance.randrange(ECHO_CLASSES) for _ in images]
    for image, brightest in zip(images, expected, strict=True):
        image[brightest] = 255
    data = b"".join(map(bytes, images))
    message = pb.ClassifyRequest(model="echo", pixels=pb.Pixels(data=data), top_k=1)
    body = framed(message.SerializeToString())
    return Case(number, "right", headers.usual("Classify"), body, frozenset({0}), expected=tuple(expected))


def _message_case(number: int, chance: random.Random) -> Case:
    """Protobuf bytes that are broken anywhere."""
    method = chance.choice(METHODS)
    others = [_some_message(chance, each) for each in ("Classify", "GetModel")]
    message = mutate(chance, _some_message(chance, method), others)
    return Case(number, "message", headers.usual(method), framed(message))


def _field_case(number: int, chance: random.Random) -> Case:
    """Whole messages whose fields say odd things."""
    method = chance.choice(("Classify", "Classify", "GetModel"))
    name, version = chance.choice(NAMES), chance.choice(VERSIONS)
    if method == "GetModel":
        message = pb.GetModelRequest(name=name, version=version).SerializeToString()
        return Case(number, "fields", headers.usual(method), framed(message))
    request = pb.ClassifyRequest(model=name, version=version)
    if chance.random() < 0.7:
        request.top_k = chance.choice(COUNTS)
    if chance.random() < 0.5:
        size = max(0, chance.choice((0, 1, 3)) * chance.choice((ECHO_BYTES, COLOUR_BYTES)) + chance.randint(-1, 1))
        request.pixels.data = chance.randbytes(size)
        for dimension in ("height", "width", "channels"):
            if chance.random() < 0.4:
                setattr(request.pixels, dimension, chance.choice((*COUNTS, 1, 3, 4, 24, 32)))
    else:
        request.encoded.images.extend(chance.choices((b"", b"\xff", b"GIF89a", *image_files()), k=chance.randrange(6)))
    return Case(number, "fields", headers.usual(method), framed(request.SerializeToString()))


def _image_case(number: int, chance: random.Random) -> Case:
    """Whole messages with broken image files, one or a few."""
    request = pb.ClassifyRequest(model=chance.choice(("echo", "colour")))
    files = image_files()
    for _ in range(chance.choice((1, 1, 1, 3))):
        file = chance.choice(files)
        wild = chance.random() < 0.1
        request.encoded.images.append(_absurd_size(chance, file) if wild else mutate(chance, file, files))
    return Case(number, "image", headers.usual("Classify"), framed(request.SerializeToString()), frozenset({0, 3}))


def _metadata_case(number: int, chance: random.Random) -> Case:
    """Messages in order under odd headers."""
    method = chance.choice(METHODS)
    sent, allowed = headers.odd(chance, method)
    return Case(number, "metadata", sent, framed(_some_message(chance, method)), allowed)


def _framing_case(number: int, chance: random.Random) -> Case:
    """The five bytes before a message, wrong: flags, lengths, no message at all, or several."""
    method = chance.choice(METHODS)
    message = _some_message(chance, method)
    length = chance.choice((*NUMBERS, len(message), max(0, len(message) - 1), len(message) + 1))
    body = chance.choice(
        (
            b"",
            b"\x00" * chance.randrange(1, 6),
            struct.pack(">BI", chance.randrange(256), len(message)) + message,
            struct.pack(">BI", 0, length) + message,
            framed(message) * 2,
            chance.randbytes(chance.randrange(1, 50)),
        )
    )
    # grpcio does not answer a message that ends early before its deadline.
    sent = headers.replaced(headers.usual(method), b"grpc-timeout", b"500m")
    if chance.random() < 0.5:
        sent = (*sent, (b"grpc-encoding", chance.choice((b"gzip", b"deflate", b"identity", b"zstd", b"", b"none"))))
    return Case(number, "framing", sent, body, headers.BY_THE_FRONT)


def _http2_case(number: int, chance: random.Random) -> Case:
    """Header blocks that HTTP/2 itself forbids."""
    method = chance.choice(METHODS)
    return Case(number, "http2", headers.forbidden(chance, method), framed(b""), headers.BY_THE_FRONT, alone=True)


def _some_message(chance: random.Random, method: str) -> bytes:
    if method == "ListModels":
        return pb.ListModelsRequest().SerializeToString()
    if method == "GetModel":
        return pb.GetModelRequest(name="colour", version=7).SerializeToString()
    request = pb.ClassifyRequest(model="echo", top_k=3)
    if chance.random() < 0.5:
        request.pixels.data = chance.randbytes(ECHO_BYTES * chance.randint(1, 4))
    else:
        request.encoded.images.extend(chance.choices(image_files(), k=chance.choice((1, 1, 2))))
    return request.SerializeToString()


def _absurd_size(chance: random.Random, file: bytes) -> bytes:
    """An image that says to be of another size than it is."""
    start = {b"\xff\xd8": max(file.find(b"\xff\xc0"), file.find(b"\xff\xc2")) + 5, b"\x89P": 16, b"GI": 6}.get(file[:2])
    if start is None:
        start = 24  # of the canvas of WebP
    size = struct.pack(">HH", *chance.choices((0, 1, 100, 900, 4000, 32767, 65535), k=2))
    if file[4:8] == b"ftyp":
        start = file.find(b"ispe") + 8
    if file[:2] == b"\x89P" or file[4:8] == b"ftyp":
        size = struct.pack(">II", *chance.choices((0, 1, 900, 4000, 2**31 - 1, 2**32 - 1), k=2))
    return file[:start] + size + file[start + len(size) :]


_KINDS: tuple[Callable[[int, random.Random], Case], ...] = (
    right_case, _message_case, _field_case, _image_case, _metadata_case, _framing_case, _http2_case,
    right_infer_case, infer_message_case, infer_field_case, infer_image_case,
)  # fmt: skip
_SHARES = (4, 17, 14, 25, 10, 6, 1, 2, 8, 8, 5)
