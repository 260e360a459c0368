"""The short campaign: on each front, by one process and by two. `python -m tests.identity` is the long one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.identity.callers import Score, is_right
from tests.identity.campaign import campaign
from tests.identity.http_callers import are_right_files, is_right_over_http

from covey_proto.v1 import classifier_pb2 as pb


@pytest.mark.slow
@pytest.mark.parametrize(("front", "processes"), [("native", 1), ("grpcio", 1), ("native", 2)])
def test_everybody_gets_his_own_and_only_the_guilty_fail(front: str, processes: int, tmp_path: Path) -> None:
    def is_enough(score: Score) -> bool:
        found = score.outcomes
        enough = min(found["OK"], found["OK over HTTP"]) > 100 and found["OK, files over HTTP"] > 20
        return enough and found["guilty: INTERNAL"] > 5 and score.shared > 20

    score, reloads = campaign(tmp_path, front, 0.5, seed=3, processes=processes, is_enough=is_enough)
    assert (score.wrong, score.lost, dict(score.innocent), dict(score.reasons)) == (0, 0, {}, {})
    assert is_enough(score), score.outcomes
    assert reloads >= 1


def test_an_answer_of_another_image_is_found() -> None:
    pixels = np.arange(16, dtype=np.uint8).reshape(1, 16)
    classes = [pb.Class(index=index, probability=pixels[0, index] / 255) for index in range(10)]
    right = pb.ClassifyResponse(results=[pb.Result(classes=classes)])
    assert is_right(right, pixels)
    assert not is_right(right, pixels[:, ::-1])
    assert not is_right(pb.ClassifyResponse(), pixels)
    head = b'{"outputs": [{"shape": [1, 10]}]}'
    body = head + (pixels[0, :10] / 255).astype("<f4").tobytes()
    assert is_right_over_http(body, len(head), pixels)
    assert not is_right_over_http(body, len(head), pixels[:, ::-1])
    found = [{"index": index, "probability": float(pixels[0, index] / 255)} for index in range(10)]
    answer = {"results": [{"classes": found}, {"error": {}}]}
    assert are_right_files(answer, np.repeat(pixels, 2, axis=0), {1})
    assert not are_right_files(answer, np.repeat(pixels, 2, axis=0), ())
    assert not are_right_files(answer, np.repeat(pixels[:, ::-1], 2, axis=0), {1})
    assert not are_right_files(answer, np.repeat(pixels, 3, axis=0), {1})
