"""What is made of the answers of a load."""

from __future__ import annotations

from bench import samples
from bench.samples import Sample

from covey_load.wire.frames import length_prefixed
from covey_proto.v1.classifier_pb2 import Class, ClassifyRequest, ClassifyResponse, ImageError, Result


def answer(version: int, *indices: int) -> bytes:
    results = [Result(classes=[Class(index=index), Class(index=9)]) for index in indices]
    return length_prefixed(ClassifyResponse(version=version, results=results).SerializeToString())


def test_answers_are_wrong_that_name_another_class_or_miss_an_image() -> None:
    sent = [Sample(ClassifyRequest(), (7, 2)), Sample(ClassifyRequest(), (0,)), Sample(ClassifyRequest())]
    unread = ClassifyResponse(version=2, results=[Result(error=ImageError(message="unreadable"))])
    right = [(0, answer(1, 7, 2)), (1, answer(2, 0)), (2, answer(2, 5))]
    wrong_results = [
        (0, answer(1, 2, 7)),
        (0, answer(1, 7)),
        (1, answer(1, 3)),
        (1, length_prefixed(unread.SerializeToString())),
    ]
    assert samples.judge(sent, right) == samples.Verdict(3, 0, {1: 1, 2: 2})
    assert samples.judge(sent, right + wrong_results) == samples.Verdict(7, 4, {1: 4, 2: 3})
