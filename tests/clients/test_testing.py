"""covey.testing's server, as programs of users would start it in their tests."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import covey
from covey.testing import FakeServer


def _content(image: bytes) -> str:
    if image.startswith(b"bad"):
        raise ValueError("no image")
    return image.decode() if len(image) < 100 else f"pixel {image[0]}"


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with FakeServer(["cat", "dog"], answer=_content) as server:
        yield server


def test_it_answers_by_the_function_and_describes_its_model(fake: FakeServer) -> None:
    with covey.Client(fake.target) as client:
        client.wait_until_ready()
        assert client.classify(b"dog").best == covey.Class("dog", 1, 1.0)
        assert client.classify(np.full((28, 28), 3, np.uint8)).label == "pixel 3"
        with pytest.raises(covey.InvalidImage, match="no image"):
            client.classify(b"bad")
        with pytest.raises(covey.InvalidRequest, match="4 bytes of pixels; images have 784 each"):
            client.classify(np.zeros((2, 2), np.uint8))
        assert client.models() == [client.model()]
        assert client.model("fake", 1).labels == ("cat", "dog")
        with pytest.raises(covey.UnknownModel, match="no model 'other'"):
            client.model("other")
    assert fake.requests == 4


def test_it_fails_as_often_as_it_is_told(fake: FakeServer) -> None:
    fake.fail("RESOURCE_EXHAUSTED", "full", times=2, retry_after_ms=5)
    with covey.Client(fake.target) as client:
        assert client.classify(b"cat").label == "cat"
        assert fake.requests == 3
        fake.fail("INTERNAL", "broken")
        with pytest.raises(covey.ServerError, match="broken"):
            client.classify(b"cat")
