"""Large answers: they are right however slowly they are read, and lie in memory once only."""

from __future__ import annotations

import socket

import numpy as np
import pytest
from tests.server.http.asking import TIMEOUT_S

from covey_server.batching.output import Output
from covey_server.fronts.http.wire import Wire
from covey_server.protocols.open_inference.outputs import OutputWriter
from covey_server.protocols.rest.infer_answers import write_binary

LABELS = [f"class {number}" for number in range(50_000)]


@pytest.mark.parametrize("before", [0, 64 << 10, 8 << 20], ids=["nothing", "little", "all there is room for"])
def test_a_head_and_a_body_are_written_one_after_the_other(before: int) -> None:
    """Whatever the network takes at once: of the head in the middle, or of the body."""
    own, other = socket.socketpair()
    with own, other:
        own.setblocking(False)
        other.settimeout(TIMEOUT_S)
        wire = Wire(own, None)
        filled = own.send(bytes(before)) if before else 0
        head, body = b"h" * 100_000, bytes(range(256)) * 8_000
        wire.write(head, memoryview(body))
        found = bytearray()
        while len(found) < filled + len(head) + len(body):
            found += other.recv(1 << 16)
            if wire.rest is not None:
                wire.write_more()
        assert wire.rest is None
        assert found == bytes(filled) + head + body


def test_rows_go_into_their_answer_without_a_copy_before_and_after() -> None:
    probabilities = np.random.default_rng(1).random((3, len(LABELS)), np.float32)
    writer = OutputWriter("wide", 1, LABELS)
    rows = writer.rows(Output(probabilities), 0, 1, 2)
    assert np.shares_memory(np.frombuffer(rows[0], np.float32), probabilities)
    message = writer.write(0, "", 2, rows)
    call = Answering()
    made = write_binary(call, message)  # type: ignore[arg-type]
    assert isinstance(made, tuple)
    head, rest = made
    assert np.shares_memory(np.frombuffer(rest, np.uint8), np.frombuffer(message, np.uint8))
    assert bytes(rest) == probabilities[1:].tobytes()
    assert call.answer_headers == (("Inference-Header-Content-Length", str(len(head))),)
    assert f'"binary_data_size":{len(rest)}'.encode() in head


class Answering:
    """What `write_binary` sets of a call."""

    answer_type = ""
    answer_headers: tuple[tuple[str, str], ...] = ()
