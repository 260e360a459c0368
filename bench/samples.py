"""The requests that are sent: made of real images, each with the answers it must get."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench import photographs
from bench.processes import Server, classify
from bench.raw_onnxruntime import RawOnnxruntime
from covey_load.wire.frames import MESSAGE_PREFIX_BYTES
from covey_proto import metadata
from covey_proto.v1.classifier_pb2 import ClassifyRequest, ClassifyResponse, EncodedImages, Pixels

# Two classes nearer to each other than this may change places with the size of the batch they are computed in.
_MIN_MARGIN = 0.01
_MIXTURE, _PHOTOGRAPHS = 100, 4


@dataclass(frozen=True)
class Golden:
    """Images of a model's golden set, `[N, H, W, C] uint8`, and the class that PyTorch found most probable for each."""

    pixels: NDArray[np.uint8]
    top: tuple[int, ...]


@dataclass(frozen=True)
class Sample:
    """One request and the most probable class of each of its images, in order; empty where any answer is right.
    `is_wrong` marks a request that must be refused."""

    request: ClassifyRequest
    top: tuple[int, ...] = ()
    is_wrong: bool = False


def golden(raw: RawOnnxruntime) -> Golden:
    """The golden set in a model's file, without images whose two best classes are nearly equal."""
    info = metadata.from_json(raw.metadata[metadata.KEY])
    pixels = np.frombuffer(info.golden_set.pixels, np.uint8).reshape(-1, *raw.image_shape)
    probabilities = np.array(info.golden_set.probabilities).reshape(len(pixels), -1)
    best = np.sort(probabilities, axis=1)
    clear = np.flatnonzero(best[:, -1] - best[:, -2] > _MIN_MARGIN)
    indices = clear if clear.size else np.arange(len(pixels))
    return Golden(pixels[indices], tuple(int(index) for index in probabilities[indices].argmax(axis=1)))


def single_images(model: str, images: Golden) -> list[Sample]:
    """A request for each image."""
    return [
        Sample(ClassifyRequest(model=model, pixels=Pixels(data=image.tobytes())), (top,))
        for image, top in zip(images.pixels, images.top, strict=True)
    ]


def packed(model: str, images: Golden, count: int) -> Sample:
    """One request of `count` images: those of the golden set, again and again."""
    indices = np.arange(count) % len(images.pixels)
    pixels = Pixels(data=images.pixels[indices].tobytes())
    return Sample(ClassifyRequest(model=model, pixels=pixels), tuple(images.top[index] for index in indices))


def encoded(model: str, files: Sequence[bytes]) -> list[Sample]:
    """A request for each file."""
    return [Sample(ClassifyRequest(model=model, encoded=EncodedImages(images=[file]))) for file in files]


def mixture(server: Server, model: str, images: Golden) -> list[Sample]:
    """A hundred requests as a long day brings them: single images, a few photographs, and two that are wrong. The
    server is asked once for the classes of the photographs."""
    files = [photographs.jpeg(photographs.photograph(seed)) for seed in range(_PHOTOGRAPHS)]
    requests = [sample.request for sample in encoded(model, files)]
    answers = [ClassifyResponse.FromString(classify(server, request)) for request in requests]
    photos = [
        Sample(request, tuple(result.classes[0].index for result in answer.results))
        for request, answer in zip(requests, answers, strict=True)
        if all(result.classes[0].probability - result.classes[1].probability > _MIN_MARGIN for result in answer.results)
    ]
    wrong = [
        Sample(ClassifyRequest(model=model, pixels=Pixels(data=b"too short")), is_wrong=True),
        Sample(ClassifyRequest(model=model), is_wrong=True),
    ]
    rare = photos + wrong
    singles = list(itertools.islice(itertools.cycle(single_images(model, images)), _MIXTURE - len(rare)))
    step = len(singles) // len(rare)
    for index, sample in enumerate(rare):
        singles.insert(index * (step + 1), sample)
    return singles


def messages(samples: Sequence[Sample]) -> list[bytes]:
    """The requests as a load sends them."""
    return [sample.request.SerializeToString() for sample in samples]


def golden_messages(model: str, file: Path) -> list[bytes]:
    """A request for each image of a model's golden set."""
    return messages(single_images(model, golden(RawOnnxruntime(file))))


@dataclass(frozen=True)
class Verdict:
    """The verdict on answers: how many there were, how many were wrong, and how many each version gave."""

    answers: int
    wrong: int
    by_version: dict[int, int]


def judge(samples: Sequence[Sample], answers: Sequence[tuple[int, bytes]]) -> Verdict:
    """Compares the answers of a Recording with the samples that were sent. An answer is wrong where it has not one
    result per image, or another most probable class."""
    count = wrong = 0
    versions: dict[int, int] = {}
    for number, message in answers:
        response = ClassifyResponse.FromString(message[MESSAGE_PREFIX_BYTES:])
        versions[response.version] = versions.get(response.version, 0) + 1
        count += 1
        expected = samples[number].top
        if expected and expected != tuple(
            result.classes[0].index if result.classes else -1 for result in response.results
        ):
            wrong += 1
    return Verdict(count, wrong, versions)
