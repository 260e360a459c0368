"""Through a real server, on both fronts: what one caller, or one model, does to the calls of others."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.conftest import WriteModel
from tests.server.conftest import Server, StartServer

from covey_proto.v1 import classifier_pb2 as pb

BAD = pb.ClassifyRequest(pixels=pb.Pixels(data=bytes([77] * 16)))


def other_connection(server: Server) -> Server:
    """The same server by a connection of its own."""
    other = Server(server.app)
    other.channel.close()
    options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    other.channel = grpc.insecure_channel(other.target, options=options)
    return other


def test_a_caller_whose_input_breaks_the_model_fails_nobody_else(
    tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path, fails_at=77)
    server = start_server(tmp_path, inline_us=0)  # so that requests share batches
    bad, ended, failed = other_connection(server), threading.Event(), 0

    def call_badly(_: int) -> int:
        count = 0
        while not ended.is_set():
            assert server_error(bad) is grpc.StatusCode.INTERNAL
            count += 1
        return count

    def call_well(number: int) -> None:
        pixels = np.random.default_rng(number).integers(78, 256, (40, 16), dtype=np.uint8)
        for image in pixels:
            answer = server.classify(pb.ClassifyRequest(pixels=pb.Pixels(data=image.tobytes()), top_k=10))
            found = {each.index: each.probability for each in answer.results[0].classes}
            assert np.allclose([found[index] for index in range(10)], image[:10] / 255, atol=1e-6)

    with ThreadPoolExecutor(10) as pool:
        badly = [pool.submit(call_badly, number) for number in range(2)]
        try:
            for well in [pool.submit(call_well, number) for number in range(8)]:
                well.result(60)
        finally:
            ended.set()
        failed = sum(each.result(60) for each in badly)
    assert failed
    bad.channel.close()


def server_error(server: Server) -> grpc.StatusCode:
    return server.error(BAD)[0]


def test_a_slow_run_of_one_model_holds_up_no_other(
    tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_echo_model(tmp_path, "slow")
    write_echo_model(tmp_path, "well")
    server = start_server(tmp_path, default_model="well", workers=2)  # of one core there is one worker by default
    quick = pb.ClassifyRequest(model="well", pixels=pb.Pixels(data=bytes(16)))
    server.classify(quick)
    (slow,) = (model for model in server.app.repository.catalog.served if model.name == "slow")
    run, runs, answered = slow.engine.run, threading.Event(), threading.Event()

    def run_until_others_are_answered(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        runs.set()
        assert answered.wait(100)
        return run(images)

    monkeypatch.setattr(slow.engine, "run", run_until_others_are_answered)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(server.classify, pb.ClassifyRequest(model="slow", pixels=BAD.pixels), 100.0)
        try:
            assert runs.wait(100)
            for _ in range(20):
                server.classify(quick)
        finally:
            answered.set()
        call.result(100)


def test_one_image_does_not_wait_for_the_many_of_others(
    tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path)
    server = start_server(tmp_path, max_batch_size=1, inline_us=0)
    many = pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(16 * 10_000)))
    others = [other_connection(server) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        bulk = [pool.submit(other.classify, many, 100.0) for other in others]
        while sum(server.app._batcher.waiting_images().values()) < 10_000:
            time.sleep(0.001)  # until they wait
        for _ in range(10):
            server.classify(pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(16))), timeout_s=1.0)
        assert not any(each.done() for each in bulk)
        for each in bulk:
            assert len(each.result(100).results) == 10_000
    for other in others:
        other.channel.close()
