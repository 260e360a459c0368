"""Ranking a batch's probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey_server.batching.output import Output


@given(
    rows=st.integers(1, 6),
    classes=st.integers(2, 300),
    k=st.integers(1, 300),
    seed=st.integers(0, 1000),
    ties=st.booleans(),
)
def test_top_is_what_sorting_each_row_gives(rows: int, classes: int, k: int, seed: int, ties: bool) -> None:
    k = min(k, classes)
    values = np.random.default_rng(seed).random((rows, classes), dtype=np.float32)
    if ties:
        values = np.round(values, 1)
    indices, probabilities = Output(values).top(k)
    for row in range(rows):
        expected = sorted(range(classes), key=lambda place: (-values[row, place], place))[:k]
        assert probabilities[row] == pytest.approx([values[row, place] for place in expected])
        if not ties:
            assert indices[row] == expected
        assert [values[row, place] for place in indices[row]] == [values[row, place] for place in expected]


def test_equal_probabilities_keep_the_order_of_the_classes() -> None:
    assert Output(np.full((1, 10), 0.1, np.float32)).top(3)[0] == [[0, 1, 2]]


def test_ranks_once_for_all_requests_of_a_batch() -> None:
    output = Output(np.eye(3, dtype=np.float32))
    assert output.top(2) is output.top(2)
