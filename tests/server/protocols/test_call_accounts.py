"""What a call takes of the server's limits is given back, however it ends; what nobody waits for is not decoded."""

from __future__ import annotations

import gc
import io
import random
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.conftest import WriteModel
from tests.server.conftest import Server, StartServer
from tests.server.fronts.stream_calls import metric
from tests.server.protocols import open_inference_calls as oip

from covey_proto.v1 import classifier_pb2 as pb
from covey_server.batching.admission import Admission
from covey_server.calls.call import Call
from covey_server.inference.engine import Engine

BROKEN = b"\x89PNG\r\n\x1a\n and no more"


def png(size: tuple[int, int] = (4, 4)) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", size, 77).save(buffer, "PNG")
    return buffer.getvalue()


def noise() -> bytes:
    buffer = io.BytesIO()
    Image.frombytes("L", (100, 100), random.Random(1).randbytes(10_000)).save(buffer, "PNG")
    return buffer.getvalue()


def request(images: Sequence[bytes], top_k: int = 1) -> pb.ClassifyRequest:
    return pb.ClassifyRequest(encoded=pb.EncodedImages(images=images), top_k=top_k)


@pytest.fixture
def server(tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel) -> Server:
    """It lets three images be decoded at once."""
    write_echo_model(tmp_path)
    return start_server(tmp_path, max_decodes=3, max_message_bytes=8 << 20)


def classify(server: Server) -> grpc.UnaryUnaryMultiCallable[bytes, bytes]:
    return server.channel.unary_unary("/covey.v1.Classifier/Classify")


def until(server: Server, sample: str, value: float) -> None:
    give_up_s = time.monotonic() + 60
    while metric(server, sample) != value:
        assert time.monotonic() < give_up_s, f"{sample} is {metric(server, sample)}, not {value}"


def test_decoded_images_make_room_for_others_whatever_becomes_of_them(server: Server) -> None:
    for _ in range(4):
        assert len(server.classify(request([png(), png()])).results) == 2
        failed = server.classify(request([BROKEN, BROKEN])).results
        assert [result.error.reason for result in failed] == [pb.ImageError.REASON_INVALID] * 2
        assert oip.error(server, oip.encoded([BROKEN, png()]))[0] == "INVALID_ARGUMENT"
        assert len(oip.probabilities(oip.infer(server, oip.encoded([png(), png()])))) == 2
    for sample in ("covey_calls_in_flight", "covey_bytes_in_flight", "covey_decodes_in_flight"):
        until(server, sample, 0)
    assert metric(server, 'covey_refused_total{reason="decode"}') == 0


def test_images_none_of_which_can_be_read_make_room_before_their_answer(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    decodes: list[int] = []
    leave = Admission.leave

    def seen(admission: Admission, size_bytes: int, caller: str, answer_bytes: int = 0) -> None:
        decodes.append(admission.decodes)
        leave(admission, size_bytes, caller, answer_bytes)

    monkeypatch.setattr(Admission, "leave", seen)  # a call leaves right before its answer
    assert len(server.classify(request([BROKEN, BROKEN])).results) == 2
    assert decodes == [0]


def test_images_whose_answer_finds_no_room_are_not_kept(
    tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path, shape=(100, 80, 1), classes=8_000)
    server = start_server(tmp_path, max_decodes=3, max_answer_bytes=300_000)
    for _ in range(4):
        code, text = server.error(request([png()] * 3, top_k=8_000))
        assert (code.name, "the answer would have up to" in text) == ("INVALID_ARGUMENT", True)
    assert len(server.classify(request([png()] * 3)).results) == 3
    for sample in ("covey_calls_in_flight", "covey_bytes_in_flight", "covey_decodes_in_flight"):
        until(server, sample, 0)


def test_what_nobody_waits_for_is_not_decoded_to_its_end(
    tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel
) -> None:
    """Decoding all of them would take seconds, and then the last one is found to be broken."""
    write_echo_model(tmp_path)
    server = start_server(tmp_path)
    call = classify(server).future(request([*[png((3000, 3000))] * 400, BROKEN]).SerializeToString(), timeout=60)
    until(server, "covey_decodes_in_flight", 401)
    call.cancel()
    until(server, "covey_decodes_in_flight", 0)
    until(server, "covey_calls_in_flight", 0)
    assert metric(server, 'covey_invalid_images_total{model="echo",reason="damaged",version="1"}') == 0
    assert metric(server, 'covey_requests_total{code="CANCELLED",model="echo",protocol="grpc",version="1"}') == 1


def test_the_bytes_of_images_that_are_decoded_are_not_kept_while_their_call_waits(
    tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [noise() for _ in range(3)]
    write_echo_model(tmp_path)
    server = start_server(tmp_path, workers=1, inline_us=0)
    run, may_end = Engine.run, threading.Event()

    def held_up(engine: Engine, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert may_end.wait(60)
        return run(engine, pixels)

    monkeypatch.setattr(Engine, "run", held_up)
    hanging = classify(server).future(
        pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(16))).SerializeToString(), timeout=60
    )
    until(server, "covey_calls_in_flight", 1)
    infer: grpc.UnaryUnaryMultiCallable[bytes, bytes] = server.channel.unary_unary(
        "/inference.GRPCInferenceService/ModelInfer"
    )
    waiting = [
        infer.future(oip.encoded(images).SerializeToString(), timeout=60),
        classify(server).future(request(images).SerializeToString(), timeout=60),
    ]
    until(server, "covey_calls_in_flight", 3)
    until(server, "covey_decodes_in_flight", 0)
    held = [len(each.payload) for each in gc.get_objects() if issubclass(type(each), Call)]
    may_end.set()
    assert len(held) >= 3
    assert max(held) < 1_000
    for call in (hanging, *waiting):
        call.result()
