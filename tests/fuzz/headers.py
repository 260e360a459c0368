"""Owns the headers of fuzzed requests: those that every gRPC client sends, odd ones, and forbidden ones; and their
bytes (HPACK literals, RFC 7541 section 6.2.2, which unlike those of bench may hold any byte)."""

from __future__ import annotations

import random

Headers = tuple[tuple[bytes, bytes], ...]

TIMEOUTS = (
    b"0n", b"1n", b"1u", b"999u", b"1m", b"5m", b"100m", b"2S", b"1H", b"99999999H", b"99999999n", b"00000001S",
    b"", b"S", b"1", b"-1S", b"1.5S", b"999999999S", b"1s", b"1 S", b"+1S", b"1SS", b"0x1S", b"\xb2S", b"1e3S",
)  # fmt: skip
# Of headers that mean something to gRPC or HTTP, each with values it should not have.
KNOWN = (
    (b"te", b"gzip"), (b"te", b""), (b"grpc-encoding", b"br"), (b"grpc-encoding", b""),
    (b"grpc-accept-encoding", b"gzip,,;q=0"), (b"grpc-accept-encoding", b"x" * 200), (b"grpc-status", b"0"),
    (b"grpc-message", b"%zz%"), (b"grpc-status-details-bin", b"AAAA"), (b"grpc-trace-bin", b"AAAA"),
    (b"grpc-tags-bin", b"!!!!"), (b"grpc-previous-rpc-attempts", b"-1"), (b"grpc-retry-pushback-ms", b"99999999999"),
    (b"content-length", b"5"), (b"content-encoding", b"gzip"), (b"accept", b"*/*"), (b"cookie", b"a=b; c"),
    (b"authorization", b"Bearer"), (b"user-agent", b""), (b"traceparent", b"00-0-0-00"),
    (b"x-forwarded-for", b"::1, 127.0.0.1"), (b"lb-token", b"x"), (b"lb-cost-bin", b"AAEC"),
)  # fmt: skip
CONTENT_TYPES = (
    b"application/grpc+proto", b"application/grpc;x=1", b"application/grpc+json", b"application/grpc-web",
    b"application/grp", b"application/json", b"text/html", b"",
)  # fmt: skip
PATHS = (
    b"/", b"//", b"*", b"/covey.v1.Classifier", b"/covey.v1.Classifier/", b"/covey.v1.Classifier/classify",
    b"/covey.v1.Classifier/Classify/", b"/covey.v1.Classifier/Classify?a=b", b"/covey.v1.Classifier/%43lassify",
    b"/covey.v2.Classifier/Classify", b"/covey.v1.Classifier/" + b"x" * 3000,
)  # fmt: skip
BINARY = (b"", b"AAEC", b"AAE=", b"A", b"====", b"_-_-", b"!!", b"A" * 4000)

Statuses = frozenset[int]
# What the library below a front may say of metadata that break gRPC's own rules, before the server sees the call:
# anything, INTERNAL too (so grpcio), or an HTTP status alone.
BY_THE_FRONT: Statuses = frozenset(range(-1, 17))
# OK, CANCELLED, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, RESOURCE_EXHAUSTED, UNIMPLEMENTED.
BY_THE_SERVER: Statuses = frozenset({0, 1, 3, 4, 5, 8, 12})


def usual(method: str, service: str = "covey.v1.Classifier") -> Headers:
    """What every client sends, with a deadline far away."""
    return (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", f"/{service}/{method}".encode()),
        (b":authority", b"localhost"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        (b"grpc-timeout", b"60S"),
    )


def odd(chance: random.Random, method: str) -> tuple[Headers, Statuses]:
    """Headers that HTTP/2 allows and gRPC frowns upon, and the statuses they may be answered with."""
    right = usual(method)
    match chance.randrange(8):
        case 0 | 1:
            return replaced(right, b"grpc-timeout", chance.choice(TIMEOUTS)), BY_THE_FRONT
        case 2:
            return (*right, *chance.choices(KNOWN, k=chance.randint(1, 4))), BY_THE_FRONT
        case 3:
            return replaced(right, b"content-type", chance.choice(CONTENT_TYPES)), BY_THE_FRONT
        case 4:
            return replaced(right, b":path", chance.choice(PATHS)), BY_THE_SERVER
        case 5:  # base64, or not
            return (*right, (b"trace-bin", chance.choice(BINARY))), BY_THE_FRONT
        case 6:  # unknown ones, many or long, to 8 KB in all
            size = chance.choice((0, 1, 100, 1000))
            many = min(chance.choice((1, 10, 100)), 8000 // (size + 40))
            unknown = ((f"x-{index}".encode(), _text(chance, size)) for index in range(many))
            return (*right, *unknown), BY_THE_SERVER
        case _:
            return tuple(each for each in right if each[0] != b"grpc-timeout"), BY_THE_SERVER


def forbidden(chance: random.Random, method: str) -> Headers:
    """Headers for which HTTP/2 lets a server reset the call or close the connection."""
    right = usual(method)
    match chance.randrange(8):
        case 0:
            return (*right, (b"X-Upper-Case", b"1"))
        case 1:
            return (*right, (b"connection", b"close"), (b"transfer-encoding", b"chunked"))
        case 2:
            return (*right, (b":path", b"/late"))
        case 3:
            return tuple(each for each in right if each[0] != chance.choice((b":path", b":method", b":scheme")))
        case 4:
            return (*right, (b"", b"nameless"), (b"x y", b"1"), (b"x", b"\x00\r\n"))
        case 5:
            return replaced(right, b":method", chance.choice((b"GET", b"CONNECT", b"PUT", b"", b"P\x00ST")))
        case 6:
            return replaced(right, chance.choice((b":path", b":authority", b"te")), b"/\x80\xff\x00/x")
        case _:
            return (*right, (b"x" * 7000, b"y" * 7000))


def replaced(headers: Headers, name: bytes, value: bytes) -> Headers:
    """The headers with another value under `name`."""
    return tuple((each, value if each == name else old) for each, old in headers)


def block(headers: Headers) -> bytes:
    """The header block: literals that refer to no table, whatever the bytes."""
    return b"".join(b"\x00" + _string(name) + _string(value) for name, value in headers)


def _string(octets: bytes) -> bytes:
    length = len(octets)
    if length < 127:
        return bytes((length,)) + octets
    encoded = bytearray((127,))
    length -= 127
    while length >= 128:
        encoded.append(length & 127 | 128)
        length >>= 7
    encoded.append(length)
    return bytes(encoded) + octets


def _text(chance: random.Random, size: int) -> bytes:
    return bytes(chance.choices(range(0x20, 0x7F), k=size)).strip()
