"""Ranking a batch's probabilities."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from covey_server.batching import output as output_module
from covey_server.batching.output import Output


@given(
    rows=st.integers(1, 6),
    classes=st.integers(2, 300),
    k=st.integers(1, 300),
    seed=st.integers(0, 1000),
    kind=st.sampled_from(["different", "tied", "signed", "large"]),
)
def test_top_is_what_sorting_each_row_gives(rows: int, classes: int, k: int, seed: int, kind: str) -> None:
    """Among equal ones the earlier class comes first."""
    k = min(k, classes)
    values = np.random.default_rng(seed).random((rows, classes), dtype=np.float32)
    if kind != "different":
        values = np.round(values, 1)
    if kind == "large":
        values *= np.float32(1e9)
    if kind == "signed":  # no probabilities, but a user's own network may answer with anything
        values = (values - np.float32(0.5)) * np.random.default_rng(seed).choice([-1, 1], values.shape).astype("f4")
    indices, probabilities = Output(values).top(k, 0, rows)
    for row in range(rows):
        expected = sorted(range(classes), key=lambda place: (-values[row, place], place))[:k]
        assert indices[row] == expected
        assert probabilities[row].tolist() == values[row, expected].tolist()


def test_requests_that_ask_alike_share_one_ranking() -> None:
    output = Output(np.eye(3, dtype=np.float32))
    (shared, _), (rest, _) = output.top(2, 0, 3), output.top(2, 1, 2)
    assert shared == [[0, 1], [1, 0], [2, 0]]
    assert all(row is other for row, other in zip(shared[1:], rest, strict=True))


def test_another_number_of_classes_is_ranked_for_its_own_rows_alone() -> None:
    """Else each of 64 callers that ask for different numbers would have all 64 rows ranked."""
    output = Output(np.eye(3, dtype=np.float32))
    output.top(2, 0, 3)
    indices, probabilities = output.top(3, 2, 1)
    assert indices == [[2, 0, 1]]
    assert probabilities.tolist() == [[1, 0, 0]]
    assert (output.shares(2), output.shares(3)) == (True, False)


@given(rows=st.integers(1, 9), first=st.integers(0, 8), k=st.integers(1, 5), piece=st.integers(1, 12))
def test_pieces_are_the_rows_in_order(rows: int, first: int, k: int, piece: int) -> None:
    first = min(first, rows - 1)
    output = Output(np.random.default_rng(rows).random((rows, 5), dtype=np.float32))
    with patch.object(output_module, "PIECE_CLASSES", piece):
        pieces = list(output.pieces(k, first, rows - first))
    indices, probabilities = output.top(k, first, rows - first)
    assert [row for found, _ in pieces for row in found] == indices
    assert np.concatenate([found for _, found in pieces]).tolist() == probabilities.tolist()
    assert all(len(found) * k <= max(piece, k) for found, _ in pieces)
