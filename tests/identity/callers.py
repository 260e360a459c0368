"""The callers of a campaign: each knows what it must be answered, and counts what came in its place.

The model answers with the pixels themselves, so that every row tells whose image it was computed from. It fails for
images whose largest pixel is `BROKEN`; innocent callers send none.
"""

from __future__ import annotations

import io
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import grpc
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from covey_proto.v1 import classifier_pb2 as pb

BROKEN = 77
CLASSES, PIXELS = 10, 16
_CLASSIFY, _STREAM = "/covey.v1.Classifier/Classify", "/covey.v1.Classifier/ClassifyStream"
_TIMEOUT_S = 30.0
_BUSY = {"RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}  # what a caller with little time may be told


@dataclass
class Score:
    """What became of the requests of all callers."""

    images: int = 0  # answered with their own rows
    shared: int = 0  # requests answered from a batch that held images of others too
    wrong: int = 0  # requests answered with others
    lost: int = 0  # without an outcome
    innocent: Counter[str] = field(default_factory=Counter)  # failures of requests that had to be answered, by status
    reasons: Counter[str] = field(default_factory=Counter)  # of what was lost, as the callers know them
    outcomes: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, outcome: str, images: int = 0) -> None:
        """One request that ended as it may."""
        with self._lock:
            self.outcomes[outcome] += 1
            self.images += images

    def note_batch(self, size: int, own: int) -> None:
        """The batch that a request of `own` images was answered from."""
        with self._lock:
            self.shared += size > own

    def note_fault(self, kind: str, status: str = "") -> None:
        """One that is `wrong`, `lost`, or `innocent` and failed."""
        with self._lock:
            if kind == "innocent":
                self.innocent[status] += 1
            else:
                setattr(self, kind, getattr(self, kind) + 1)
                self.reasons[status] += 1

    @property
    def faults(self) -> int:
        return self.wrong + self.lost + self.innocent.total()


def images(chance: random.Random, most: int) -> NDArray[np.uint8]:
    """Innocent ones, `[N, 16] uint8`."""
    count = chance.choice((1, 1, 1, chance.randrange(1, most + 1)))
    pixels = np.random.default_rng(chance.randrange(2**32)).integers(0, 256, (count, PIXELS), dtype=np.uint8)
    pixels[:, -1] = 255  # largest, and not among those that are answered
    return pixels


def request(pixels: NDArray[np.uint8]) -> pb.ClassifyRequest:
    """All classes of all images."""
    return pb.ClassifyRequest(model="echo", top_k=CLASSES, pixels=pb.Pixels(data=pixels.tobytes()))


def request_of_files(pixels: NDArray[np.uint8]) -> pb.ClassifyRequest:
    """The same of image files."""
    return pb.ClassifyRequest(model="echo", top_k=CLASSES, encoded=pb.EncodedImages(images=files(pixels)))


def files(pixels: NDArray[np.uint8]) -> list[bytes]:
    """The images as PNG, which keeps their pixels."""
    return [_png(each) for each in pixels]


def _png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels.reshape(4, 4)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def is_right(response: pb.ClassifyResponse, pixels: NDArray[np.uint8]) -> bool:
    """Whether the answer has the rows of these very images."""
    found = np.full((len(response.results), CLASSES), -1.0)
    for row, result in zip(found, response.results, strict=True):
        for each in result.classes:
            row[each.index] = each.probability
    return found.shape[0] == len(pixels) and np.allclose(found, pixels[:, :CLASSES] / 255, atol=1e-6)


class Caller:
    """One connection that calls until it is told to end."""

    def __init__(self, target: str, kind: str, seed: int, score: Score, ended: threading.Event) -> None:
        self._kind = kind
        self._chance = random.Random(seed)
        self._score = score
        self._ended = ended
        options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        self._channel = grpc.insecure_channel(target, options=options)
        self._classify: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(_CLASSIFY)
        self._stream: grpc.StreamStreamMultiCallable[bytes, bytes] = self._channel.stream_stream(_STREAM)

    def run(self) -> None:
        """Calls; what it is not answered is counted as lost."""
        once = {
            "single": lambda: self._call(1),
            "many": lambda: self._call(300),
            "hurried": lambda: self._call(3, self._chance.uniform(0.001, 0.05)),
            "leaving": lambda: self._call_and_leave(request),
            "files": lambda: self._call_and_leave(request_of_files),
            "broken": self._call_badly,
            "stream": self._call_stream,
        }[self._kind]
        with self._channel:
            while not self._ended.is_set():
                once()

    def _call(self, most: int, timeout_s: float = _TIMEOUT_S) -> None:
        pixels = images(self._chance, most)
        try:
            answer = self._classify(request(pixels).SerializeToString(), timeout=timeout_s)
        except grpc.RpcError as error:
            self._fail(error.code().name, error.details(), hurried=timeout_s < _TIMEOUT_S)
        else:
            self._check(answer, pixels)

    def _call_and_leave(self, request: Callable[[NDArray[np.uint8]], pb.ClassifyRequest]) -> None:
        """Several at once, of which some are cancelled; the others have to be answered."""
        sent = [images(self._chance, 20) for _ in range(8)]
        calls = [self._classify.future(request(pixels).SerializeToString(), timeout=_TIMEOUT_S) for pixels in sent]
        left = self._chance.sample(calls, 4)
        time.sleep(self._chance.uniform(0, 0.005))
        for call in left:
            call.cancel()
        for call, pixels in zip(calls, sent, strict=True):
            try:
                self._check(call.result(), pixels)
            except grpc.FutureCancelledError:
                self._score.note("cancelled")
            except grpc.RpcError as error:
                self._fail(error.code().name, error.details())

    def _call_badly(self) -> None:
        """One image that breaks the model, alone or among good ones, beside good ones of the same caller."""
        bad = np.zeros((self._chance.choice((1, 5)), PIXELS), np.uint8)
        bad[:, :5] = 200
        bad[self._chance.randrange(len(bad))] = BROKEN
        good = images(self._chance, 3)
        calls = [self._classify.future(request(each).SerializeToString(), timeout=_TIMEOUT_S) for each in (bad, good)]
        try:
            calls[0].result()
            self._score.note_fault("wrong")
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.INTERNAL:
                self._score.note("guilty: INTERNAL")
            else:
                self._fail(error.code().name, error.details())
        try:
            self._check(calls[1].result(), good)
        except grpc.RpcError as error:
            self._fail(error.code().name, error.details())

    def _call_stream(self) -> None:
        """A few hundred elements; ended early now and then, and with broken ones among them."""
        count = self._chance.randrange(1, 300)
        sent = {str(number): images(self._chance, 8) for number in range(count)}
        broken = {name for name in sent if self._chance.random() < 0.02}
        for name in broken:
            sent[name] = np.full((1, PIXELS), BROKEN, np.uint8)
        leaves_after = self._chance.choice((count, count, self._chance.randrange(count + 1)))

        def elements() -> Iterator[bytes]:
            for name, pixels in sent.items():
                yield pb.ClassifyStreamRequest(id=name, request=request(pixels)).SerializeToString()

        waiting = set(sent)
        call = self._stream(elements(), timeout=_TIMEOUT_S)
        try:
            while len(sent) - len(waiting) < leaves_after and (message := next(call, None)) is not None:
                answer = pb.ClassifyStreamResponse.FromString(message)
                waiting.remove(answer.id)
                self._judge_element(answer, sent[answer.id], answer.id in broken)
        except grpc.RpcError as error:
            self._fail(error.code().name, error.details())
            return
        if leaves_after < count:
            call.cancel()
            self._score.note("left a stream")
        else:
            for _ in waiting:
                self._score.note_fault("lost")

    def _judge_element(self, answer: pb.ClassifyStreamResponse, pixels: NDArray[np.uint8], broken: bool) -> None:
        if broken:
            if answer.error.code == "INTERNAL":
                self._score.note("guilty: INTERNAL")
            else:
                self._score.note_fault("wrong")
        elif answer.HasField("error"):
            self._fail(answer.error.code, answer.error.message)
        else:
            self._check(answer.response.SerializeToString(), pixels)

    def _check(self, answer: bytes, pixels: NDArray[np.uint8]) -> None:
        response = pb.ClassifyResponse.FromString(answer)
        if is_right(response, pixels):
            self._score.note("OK", len(pixels))
            self._score.note_batch(response.timing.batch_size, len(pixels))
        else:
            self._score.note_fault("wrong")

    def _fail(self, status: str, details: str | None, hurried: bool = False) -> None:
        if hurried and status in _BUSY:
            self._score.note(f"hurried: {status}")
        elif status == "DEADLINE_EXCEEDED":  # half a minute: nobody answered
            self._score.note_fault("lost", f"{self._kind}: {details}")
        else:
            self._score.note_fault("innocent", f"{self._kind}: {status}: {details}")
