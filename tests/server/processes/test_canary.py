"""A canary of a server of two processes: the first one that decides, decides for both, and so does one that dies."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections import Counter
from pathlib import Path

import grpc
import numpy as np
import pytest
from bench.processes import SERVICE, covey_server, fetch
from tests.conftest import WriteModel
from tests.end_to_end.serving import connected_to_each_process
from tests.waiting import wait_until

from covey_proto import layout
from covey_proto.v1 import classifier_pb2 as pb

FLAGS = ("--processes", "2", "--canary-share", "0.5", "--canary-window-s", "0", "--canary-images", "100",
         "--canary-slowdown", "1000")  # fmt: skip


@pytest.fixture
def choices(tmp_path: Path, write_echo_model: WriteModel) -> Path:
    """The folder of a model whose version 2 is the canary, once it is there."""
    write_echo_model(tmp_path / "models", version=1)
    folder = tmp_path / "models" / "echo"
    (folder / "default-version").write_text("1")
    (folder / "canary-version").write_text("2")
    return folder


def told_by(channel: grpc.Channel) -> tuple[int, str]:
    """What a process tells of version 2: how it did as the canary, and why that is over."""
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"{SERVICE}/GetModel")
    answer = call(pb.GetModelRequest(version=2).SerializeToString(), timeout=60)
    model = pb.GetModelResponse.FromString(answer).model
    return model.canary, model.canary_reason


@pytest.mark.parametrize("shift", [0, 1])
def test_both_processes_follow_the_decision(
    tmp_path: Path, choices: Path, write_echo_model: WriteModel, shift: int
) -> None:
    models = choices.parent
    write_echo_model(models, version=2, shift=shift)
    expected = 1 if shift else 2
    versions: Counter[int] = Counter()
    failures: list[grpc.RpcError] = []
    is_over = threading.Event()

    def classify(channel: grpc.Channel, request_id: str) -> int:
        pixels = np.zeros((4, 16), np.uint8)
        pixels[:, 1 + len(request_id) % 9] = 255
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"{SERVICE}/Classify")
        request = pb.ClassifyRequest(pixels=pb.Pixels(data=pixels.tobytes())).SerializeToString()
        answer = call(request, timeout=60, metadata=(("x-request-id", request_id),))
        return pb.ClassifyResponse.FromString(answer).version

    def go_on(channel: grpc.Channel, name: str) -> None:
        number = 0
        while not is_over.is_set():
            number += 1
            try:
                versions[classify(channel, f"{name}-{number}")] += 1
            except grpc.RpcError as error:
                failures.append(error)

    with (
        covey_server(models, "native", tmp_path / "log", FLAGS) as server,
        connected_to_each_process(server) as channels,
    ):
        callers = [threading.Thread(target=go_on, args=(each, f"{pid}")) for pid, each in channels.items()]
        for each in callers:
            each.start()
        try:
            wait_until(lambda: not (choices / "canary-version").exists())
            for number, channel in enumerate(channels.values()):
                wait_until(lambda: {classify(channel, f"{number}-{each}") for each in range(20)} == {expected})  # noqa: B023
        finally:
            is_over.set()
            for each in callers:
                each.join()
        page = fetch(server.metrics_url or "")
        # Both tell what one of them has decided, and why.
        outcome = pb.Model.CANARY_ROLLED_BACK if shift else pb.Model.CANARY_PROMOTED
        wait_until(lambda: {told_by(channel)[0] for channel in channels.values()} == {outcome})
        ((_, why),) = {told_by(channel) for channel in channels.values()}
    assert f"{'rolled back' if shift else 'promoted'}: {why}; in" in (tmp_path / "log").read_text()
    assert failures == []
    assert versions.keys() == {1, 2}
    assert (choices / "default-version").read_text() == ("1" if shift else "2\n1\n")
    reason = "agreement" if shift else "enough"
    assert f'covey_canary_decisions_total{{model="echo",reason="{reason}"}} 1.0' in page


@pytest.mark.parametrize("is_copy", [False, True])
def test_it_is_rolled_back_where_a_process_dies(
    tmp_path: Path, choices: Path, write_echo_model: WriteModel, is_copy: bool
) -> None:
    """By the signal that a fault in native code ends a process with."""
    models = choices.parent
    write_echo_model(models, version=2)
    if is_copy:
        (models / layout.MIRROR_LOCK).touch()
    log = tmp_path / "log"
    with (
        covey_server(models, "native", log, (*FLAGS, "--canary-images", "1000000")) as server,
        connected_to_each_process(server) as channels,
    ):
        wait_until(lambda: log.read_text().count("version 2 is the canary") == 2)
        victim = next(iter(channels))
        os.kill(victim, signal.SIGSEGV)
        why = rf"process \d \({victim}\), in which it ran, ended by signal 11"
        if is_copy:
            text = (
                rf"model echo: the canary, version 2, is not rolled back, though {why}: the models folder cannot be "
                r"written \(it is the copy of a store; write the file there\)\. By hand: echo 1 > "
                r"echo/default-version; rm echo/canary-version"
            )
        else:
            text = f"model echo: the canary, version 2, is rolled back: {why}"
        wait_until(lambda: re.search(text, log.read_text()) is not None)
        if not is_copy:
            survivor = next(channel for pid, channel in channels.items() if pid != victim)
            wait_until(lambda: told_by(survivor)[0] == pb.Model.CANARY_ROLLED_BACK)
            assert re.fullmatch(why, told_by(survivor)[1])
    assert (choices / "canary-version").exists() is is_copy
    assert (choices / "default-version").read_text() == "1"
