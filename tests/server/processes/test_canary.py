"""A canary of a server of two processes: the first one that decides, decides for both."""

from __future__ import annotations

import re
import threading
from collections import Counter
from pathlib import Path

import grpc
import numpy as np
import pytest
from bench.processes import SERVICE, covey_server, fetch
from tests.conftest import WriteModel
from tests.end_to_end.serving import connected_to_each_process
from tests.server.observability.test_canaries import wait_until

from covey_proto.v1 import classifier_pb2 as pb

FLAGS = ("--processes", "2", "--canary-share", "0.5", "--canary-window-s", "0", "--canary-images", "100",
         "--canary-slowdown", "1000")  # fmt: skip


@pytest.mark.parametrize("shift", [0, 1])
def test_both_processes_follow_the_decision(tmp_path: Path, write_echo_model: WriteModel, shift: int) -> None:
    models = tmp_path / "models"
    write_echo_model(models, version=1)
    write_echo_model(models, version=2, shift=shift)
    choices = models / "echo"
    (choices / "default-version").write_text("1")
    (choices / "canary-version").write_text("2")
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
    assert failures == []
    assert versions.keys() == {1, 2}
    assert (choices / "default-version").read_text() == ("1" if shift else "2\n1\n")
    reason = "agreement" if shift else "enough"
    assert re.search(rf'covey_canary_decisions_total{{model="echo",reason="{reason}"}} [12]\.0', page)
