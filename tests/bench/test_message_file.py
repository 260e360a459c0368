"""Files of messages and of answers, and what is made of the answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench import message_file, samples
from bench.samples import Sample

from covey_load.wire.frames import length_prefixed
from covey_proto.v1.classifier_pb2 import Class, ClassifyRequest, ClassifyResponse, ImageError, Result


def test_messages_come_back_as_they_were(tmp_path: Path) -> None:
    messages = [b"", b"a", bytes(70_000)]
    message_file.write(tmp_path / "messages", messages)
    assert message_file.read(tmp_path / "messages") == messages
    requests = message_file.read_requests(tmp_path / "messages", "test", "/a/b", None)
    assert [(request.number, request.body) for request in requests] == list(enumerate(map(length_prefixed, messages)))


def test_files_that_hold_no_whole_message_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "messages"
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="no message in"):
        message_file.read(path)
    path.write_bytes(length_prefixed(b"a") + b"\x00\x00\x00")
    with pytest.raises(ValueError, match="message 1 is cut off at byte 9"):
        message_file.read(path)


def test_answers_come_back_with_the_numbers_of_their_messages(tmp_path: Path) -> None:
    answers = [(3, length_prefixed(b"three")), (0, length_prefixed(b"")), (3, length_prefixed(bytes(1000)))]
    message_file.write_answers(tmp_path / "answers", answers)
    assert list(message_file.read_answers(tmp_path / "answers")) == [(3, b"three"), (0, b""), (3, bytes(1000))]


def answer(version: int, *indices: int) -> bytes:
    results = [Result(classes=[Class(index=index), Class(index=9)]) for index in indices]
    return length_prefixed(ClassifyResponse(version=version, results=results).SerializeToString())


def test_answers_are_wrong_that_name_another_class_or_miss_an_image(tmp_path: Path) -> None:
    sent = [Sample(ClassifyRequest(), (7, 2)), Sample(ClassifyRequest(), (0,)), Sample(ClassifyRequest())]
    unread = ClassifyResponse(version=2, results=[Result(error=ImageError(message="unreadable"))])
    right = [(0, answer(1, 7, 2)), (1, answer(2, 0)), (2, answer(2, 5))]
    wrong = [
        (0, answer(1, 2, 7)),
        (0, answer(1, 7)),
        (1, answer(1, 3)),
        (1, length_prefixed(unread.SerializeToString())),
    ]
    path = tmp_path / "answers"
    message_file.write_answers(path, right)
    assert samples.judge(sent, path) == samples.Verdict(3, 0, {1: 1, 2: 2})
    message_file.write_answers(path, right + wrong)
    assert samples.judge(sent, path) == samples.Verdict(7, 4, {1: 4, 2: 3})
