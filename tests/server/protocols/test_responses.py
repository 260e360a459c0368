"""What is written by hand is what the generated classes read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey_proto.v1 import classifier_pb2 as pb
from covey_server.batching.output import Output
from covey_server.errors import ImageTooLarge, InvalidImage
from covey_server.protocols.classifier.messages import write_results
from covey_server.protocols.classifier.responses import ResponseWriter
from covey_server.protocols.open_inference.outputs import OutputWriter


@given(
    labels=st.lists(st.text(max_size=200), min_size=1, max_size=300),
    rows=st.integers(1, 5),
    k=st.integers(1, 300),
    seed=st.integers(0, 1000),
    times=st.tuples(*[st.integers(0, 2**40)] * 3),
)
def test_any_answer_reads_back(labels: list[str], rows: int, k: int, seed: int, times: tuple[int, int, int]) -> None:
    k = min(k, len(labels))
    probabilities = np.random.default_rng(seed).random((rows, len(labels)), dtype=np.float32)
    decode_us, queue_us, compute_us = times
    writer = ResponseWriter("lenet", 3, "cuda:0", labels)
    output = Output(probabilities)
    total_us = decode_us + queue_us + compute_us
    payload = b"".join(writer.results(output, k, 0, rows)) + writer.tail(total_us, decode_us, queue_us, 32)

    expected = pb.ClassifyResponse(model="lenet", version=3)
    indices, best = output.top(k, 0, rows)
    for row in range(rows):
        expected.results.add(
            classes=[
                pb.Class(label=labels[index], index=index, probability=float(value))
                for index, value in zip(indices[row], best[row], strict=True)
            ]
        )
    expected.timing.CopyFrom(
        pb.Timing(total_us=total_us, decode_us=decode_us, queue_us=queue_us, compute_us=compute_us, batch_size=32,
                  device="cuda:0")
    )  # fmt: skip
    assert pb.ClassifyResponse.FromString(payload) == expected


def test_results_are_written_once_for_all_requests_of_a_batch() -> None:
    writer, output = ResponseWriter("m", 1, "cpu", "abc"), Output(np.eye(3, dtype=np.float32))
    first, (second,) = writer.results(output, 2, 0, 3), writer.results(output, 2, 1, 1)
    assert first[1] is second


def test_no_writer_gets_what_another_has_written() -> None:
    """Of one batch, for the same number of classes: each protocol has its own."""
    output = Output(np.eye(3, dtype=np.float32))
    one, other = ResponseWriter("m", 1, "cpu", "abc"), ResponseWriter("m", 1, "cpu", "xyz")
    one.results(output, 1, 0, 3)
    (result,) = pb.ClassifyResponse.FromString(other.results(output, 1, 0, 3)[0]).results
    assert result.classes[0].label == "x"
    whole = OutputWriter("m", 1, "abc").rows(output, 0, 0, 3)
    output.written[one, 0] = [b"another protocol's"]
    assert OutputWriter("m", 1, "abc").rows(output, 0, 0, 3) == whole == [output.probabilities.tobytes()]


def test_a_request_that_asks_for_other_classes_than_the_first_gets_its_own_rows() -> None:
    writer, output = ResponseWriter("m", 1, "cpu", "abc"), Output(np.eye(3, dtype=np.float32))
    writer.results(output, 1, 0, 3)
    (row,) = writer.results(output, 3, 2, 1)
    (result,) = pb.ClassifyResponse.FromString(row).results
    assert [one.index for one in result.classes] == [2, 0, 1]


def test_failed_images_stand_in_their_places() -> None:
    writer, output = ResponseWriter("m", 1, "cpu", "abc"), Output(np.eye(3, dtype=np.float32))
    failures = [None, InvalidImage("no image", "damaged"), ImageTooLarge("too large", "too_large"), None]
    results = write_results(writer.results(output, 1, 1, 2), failures)
    answer = pb.ClassifyResponse.FromString(results + writer.tail(0, 0, 0, 3))
    assert [result.classes[0].index if result.classes else result.error.message for result in answer.results] == [
        1, "no image", "too large", 2,
    ]  # fmt: skip
    assert answer.results[2].error.reason == pb.ImageError.REASON_TOO_LARGE


def test_a_row_is_as_long_as_it_says_at_every_size_of_a_length() -> None:
    for length in (0, 1, 100, 120, 127, 128, 16_300, 16_383, 16_384):
        label = "x" * length
        writer, output = ResponseWriter("m", 1, "cpu", [label]), Output(np.ones((1, 1), np.float32))
        answer = pb.ClassifyResponse.FromString(writer.results(output, 1, 0, 1)[0] + writer.tail(1, 1, 0, 1))
        assert answer.results[0].classes[0].label == label
        assert answer.results[0].classes[0].probability == pytest.approx(1.0)
