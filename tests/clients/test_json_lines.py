"""Lines of JSON for programs: what JSON does not have is not in them."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from covey.cli import json_lines
from covey.results import Class, InputSize, Model, ModelState
from covey_proto.resize import Resize


def _strictly(text: str) -> Any:  # noqa: ANN401 - whatever the line holds
    def refuse(word: str) -> float:
        pytest.fail(f"{word} is no JSON: {text}")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_does_not_have_is_null(number: float) -> None:
    record = {"classes": (Class("cat", 0, number), Class("dog", 1, 0.25)), "best": [number], "text": "NaN", "whole": 7}
    assert _strictly(json_lines.line(record)) == {
        "classes": [
            {"label": "cat", "index": 0, "probability": None},
            {"label": "dog", "index": 1, "probability": 0.25},
        ],
        "best": [None],
        "text": "NaN",
        "whole": 7,
    }


def test_so_it_is_in_what_a_server_tells_of_a_model() -> None:
    size = InputSize(4, 4, 1, Resize.STRETCH, crop=math.nan)
    model = Model("m", 1, ModelState.READY, "", True, ("a", "b"), size, None, None)
    found = _strictly(json_lines.line(model))
    assert (found["input"]["height"], found["input"]["resize"], found["input"]["crop"]) == (4, "stretch", None)
    assert (found["state"], found["is_default"], found["training"]) == ("ready", True, None)
