"""A conversation of the SDK with a server, through what 0.1.0 had: `python conversation.py TARGET IMAGES` prints the
results as JSON.

Runs with the SDK that PYTHONPATH leads to, that of 0.1.0 included; so it imports nothing else of Covey, and calls
nothing that is newer.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import covey

GREY, COLOUR = "grey", "colour"  # the models
TOKEN = "a-token-of-0.1.0"


def pixels(height: int, width: int, channels: int, seed: int) -> NDArray[np.uint8]:
    """A pattern `[H, W, C]`, by arithmetic that no library changes."""
    y, x, channel = np.indices((height, width, channels))
    pattern: NDArray[np.uint8] = ((x * (seed + 3) + y * (seed * 7 + 1) + channel * 50) % 256).astype(np.uint8)
    return pattern


def hold(target: str, images: Path) -> dict[str, Any]:
    """All calls by name, with what they gave: results, or the name of the error."""
    results: dict[str, Any] = {}

    def record(name: str, call: Callable[[], object]) -> None:
        try:
            results[name] = call()
        except covey.CoveyError as error:
            results[name] = type(error).__name__

    one, other = pixels(28, 28, 1, 1), pixels(28, 28, 1, 2)
    digit, photo, clear, turned = (images / name for name in ("digit.png", "photo.jpg", "clear.png", "turned.jpg"))
    damaged = digit.read_bytes()[:60]
    mixed: list[Any] = [digit, one, other, digit]
    three: list[Any] = [one, digit, damaged]
    with covey.Client(target, token=TOKEN, retries=0, deadline_ms=120_000) as client:
        record("ready", client.wait_until_ready)
        record("models", lambda: [_model(model) for model in client.models()])
        record("model", lambda: _model(client.model(COLOUR)))
        record("model of a version", lambda: _model(client.model(GREY, 1)))
        record("pixels", lambda: _answer(client.classify(one, model=GREY)))
        record("pixels of several", lambda: _answers(client.classify(np.stack([one, other]), model=GREY)))
        record("file", lambda: _answer(client.classify(digit, model=GREY)))
        record("bytes", lambda: _answer(client.classify(digit.read_bytes(), model=GREY, version=1)))
        record("colour", lambda: _answer(client.classify(pixels(16, 16, 3, 5), model=COLOUR)))
        record("photo", lambda: _answer(client.classify(photo, model=COLOUR)))
        record("turned by EXIF", lambda: _answer(client.classify(turned, model=COLOUR)))
        record("transparent", lambda: _answer(client.classify(clear, model=COLOUR)))
        record("files and pixels", lambda: _answers(client.classify(mixed, model=GREY)))
        record("one damaged", lambda: _answers(client.classify([digit.read_bytes(), damaged], model=GREY)))
        record("damaged alone", lambda: _answer(client.classify(damaged, model=GREY)))
        record("best class only", lambda: _answer(client.classify(one, model=GREY, top_k=1)))
        record("all classes", lambda: _answer(client.classify(one, model=GREY, top_k=10)))
        record("many", lambda: _answers(list(client.classify_many(iter(three), model=GREY))))
        record("stream", lambda: _stream(client.classify_stream(_pairs(three), model=GREY, top_k=3)))
        record("unknown model", lambda: client.classify(one, model="none"))
        record("unknown version", lambda: client.model(GREY, 7))
        record("no model named", lambda: client.classify(one))
        record("too many classes", lambda: client.classify(one, model=GREY, top_k=11))
        record("pixels of another size", lambda: client.classify(pixels(5, 5, 1, 1), model=GREY))
    record("asyncio", lambda: asyncio.run(_by_asyncio(target, one, digit)))
    with covey.Client(target, token="another", retries=0) as client:
        record("wrong token", lambda: client.classify(one, model=GREY))
    return results


async def _by_asyncio(target: str, image: NDArray[np.uint8], file: Path) -> list[Any]:
    pairs: list[tuple[str, Any]] = [("x", image), ("y", file)]
    async with covey.AsyncClient(target, token=TOKEN, retries=0, deadline_ms=120_000) as client:
        await client.wait_until_ready()
        return [
            _answer(await client.classify(image, model=GREY)),
            _answers([each async for each in client.classify_many([image, file], model=GREY)]),
            _stream([pair async for pair in client.classify_stream(pairs, model=GREY)]),
            [_model(model) for model in await client.models()],
        ]


def _pairs(images: list[Any]) -> Iterator[tuple[str, Any]]:
    return ((f"image {place}", image) for place, image in enumerate(images))


def _stream(pairs: Any) -> dict[str, Any]:  # noqa: ANN401
    return {key: _answer(answer) for key, answer in sorted(pairs, key=lambda pair: str(pair[0]))}


def _answers(answers: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    return [_answer(answer) for answer in answers]


def _answer(answer: covey.Classification) -> dict[str, Any]:
    """All of it but what differs from run to run; of that, whether it can be."""
    timing = answer.timing
    times = (timing.total_us, timing.decode_us + timing.queue_us + timing.compute_us)
    return {
        "classes": [[each.label, each.index, each.probability] for each in answer.classes],
        "error": type(answer.error).__name__,
        "model": [answer.model, answer.version],
        "device": timing.device,
        # A damaged image has no batch, unless its request had others, which is a matter of timing in `classify_many`.
        "has times": times[0] == times[1]
        and timing.round_trip_us > 0
        and (timing.batch_size > 0 or answer.error is not None),
    }


def _model(model: covey.Model) -> dict[str, Any]:
    described: dict[str, Any] = {
        name: getattr(model, name) for name in ("name", "version", "reason", "is_default", "is_ready", "labels")
    }
    assert model.input is not None
    assert model.training is not None
    described["state"] = model.state.value
    described["input"] = [model.input.height, model.input.width, model.input.channels, model.input.crop]
    described["resize"] = model.input.resize.value
    names = ("network", "dataset", "recipe", "epochs", "seed", "test_accuracy", "test_images", "parameters")
    described["training"] = {name: getattr(model.training, name) for name in (*names, "precision")}
    described["created"] = str(model.training.created)
    if model.serving is not None:
        described["serving"] = {name: getattr(model.serving, name) for name in ("device", "provider", "threads")}
        described["has figures"] = (
            min(model.serving.workers, model.serving.max_batch_size, model.serving.memory_bytes + 1) > 0
            and model.serving.max_message_bytes > 1_000_000
            and [cost.batch_size for cost in model.serving.batch_curve][:1] == [1]
            and model.serving.golden_difference < 1e-3
        )
    return described


if __name__ == "__main__":
    json.dump(hold(sys.argv[1], Path(sys.argv[2])), sys.stdout, indent=1)
