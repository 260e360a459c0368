"""Settings of a client that cannot be meant: refused where they are given, not by a server later."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import numpy as np
import pytest

import covey
from covey.testing import FakeServer


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"token": b"bytes"}, "the token must be a str, or a function that gives one, not a bytes"),
        ({"token": 5}, "the token must be a str, or a function that gives one, not a int"),
        ({"token": None}, "the token must be a str, or a function that gives one, not a NoneType"),
        ({"token": "line\n"}, "without blanks or line ends"),
        ({"tls": "authority.pem"}, r"tls must be True, False or a covey.TLS\(...\), not a str"),
        ({"deadline_ms": "5"}, "deadline_ms must be a number of milliseconds above 0, not '5'"),
        ({"deadline_ms": 1e16}, r"deadline_ms is at most 1,000,000,000 \(11 days\), not 1e\+16"),
        ({"deadline_ms": 10**400}, r"deadline_ms is at most 1,000,000,000 \(11 days\), not 10000"),
        ({"target": 8001}, "a target is a str, as 'localhost:8001', not a int"),
        ({"target": ["localhost", None]}, "a target is a str, as 'localhost:8001', not a NoneType"),
        ({"target": b"localhost"}, "a target is a str, as 'localhost:8001', not a bytes"),
    ],
)
@pytest.mark.parametrize("kind", [covey.Client, covey.AsyncClient])
def test_settings_of_another_type_are_refused(kind: type, settings: dict[str, object], text: str) -> None:
    with pytest.raises(covey.InvalidInput, match=text):
        kind(**settings)


@pytest.mark.parametrize("deadline_ms", [np.int64(500), np.float32(500), 500, Fraction(500)])
def test_a_deadline_may_be_any_number(deadline_ms: float) -> None:
    with covey.Client(deadline_ms=deadline_ms) as client:
        assert repr(client) == "Client('localhost:8001', deadline_ms=500)"


@pytest.mark.parametrize("coalesce", [False, True])
def test_the_longest_deadline_is_one_that_all_can_wait_for(coalesce: bool) -> None:
    with FakeServer() as server:
        with covey.Client(server.target, deadline_ms=1e9, coalesce=coalesce) as client:
            client.wait_until_ready()
            with ThreadPoolExecutor(16) as pool:
                assert {answer.label for answer in pool.map(client.classify, [b"x"] * 64)} == {"cat"}
            assert [answer.label for _, answer in client.classify_stream([(1, b"x")])] == ["cat"]

        async def ask() -> None:
            async with covey.AsyncClient(server.target, deadline_ms=1e9, coalesce=coalesce) as client:
                answers = await asyncio.gather(*[client.classify(b"x") for _ in range(64)])
                assert {answer.label for answer in answers} == {"cat"}
                assert [answer.label async for _, answer in client.classify_stream([(1, b"x")])] == ["cat"]

        asyncio.run(ask())


def test_a_token_that_no_server_would_take_is_told_before_it_is_sent() -> None:
    covey.Client("localhost", token="x" * 61_000).close()
    with pytest.raises(covey.InvalidInput, match="the token has 70,000 bytes; expected at most 61,440"):
        covey.Client("localhost", token="x" * 70_000)
