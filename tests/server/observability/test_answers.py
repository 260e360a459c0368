"""What is counted of answers, and when they count as drifted."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from covey_proto import usual_answers
from covey_proto.usual_answers import CONFIDENCE
from covey_proto.v1.classifier_pb2 import UsualAnswers
from covey_server.observability import answers
from covey_server.observability.answers import Answers

LABELS = tuple("abcdefghij")


def rows(shares: list[float], count: int, sure: float, seed: int) -> NDArray[np.float32]:
    """Answers of a network whose classes come in these shares and which is about so sure, `[count, K] float32`."""
    random = np.random.default_rng(seed)
    classes = len(shares)
    scores = random.normal(0, 1, (count, classes))
    best = random.choice(classes, count, p=np.array(shares) / sum(shares))
    scores[np.arange(count), best] += sure
    powers = np.exp(scores)
    found: NDArray[np.float32] = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    return found


def usual(classes: int = 10, images: int = 10_000) -> UsualAnswers:
    return usual_answers.to_message(rows([1.0] * classes, images, 8, seed=1))


def test_counts_are_those_of_the_rows() -> None:
    probabilities = rows([1.0] * 10, 3000, 3, seed=2)
    found = Answers(LABELS, UsualAnswers(), 0)
    for start in range(0, 3000, 7):
        found.add(probabilities[start : start + 7])
    found.count()
    best, largest = probabilities.argmax(axis=1), probabilities.max(axis=1).astype(np.float64)
    assert found.by_class() == [(label, int((best == place).sum())) for place, label in enumerate(LABELS)]
    for place, bound in enumerate(CONFIDENCE):
        assert found.confidence[: place + 1].sum() == (probabilities.max(axis=1) <= np.float32(bound)).sum()
    assert found.confidence_sum == pytest.approx(largest.sum())
    exact = -(probabilities * np.log(probabilities)).sum(axis=1) / math.log(10)
    assert found.entropy_sum == pytest.approx(exact.sum(), rel=1e-5)
    assert found.entropy.sum() == 3000


def test_the_extremes_of_entropy() -> None:
    found = Answers(LABELS, UsualAnswers(), 0)
    found.add(np.vstack((np.eye(1, 10, dtype=np.float32), np.full((1, 10), 0.1, np.float32))))
    found.count()
    assert (found.entropy[0], found.entropy[-1]) == (1, 1)
    independent = Answers(LABELS, UsualAnswers(), 0, is_exclusive=False)
    independent.add(np.ones((5, 10), np.float32))
    independent.count()
    assert independent.entropy.sum() == 0
    assert independent.classes[0] == 5


def test_a_thousand_classes_are_not_a_thousand_series() -> None:
    found = Answers(tuple(map(str, range(1000))), UsualAnswers(), 0)
    found.add(np.eye(1000, dtype=np.float32))
    found.count()
    shown = found.by_class()
    assert len(shown) == 101
    assert shown[-1] == ("other", 900)
    assert sum(count for _, count in shown) == 1000


def test_large_answers_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "_KEPT_BYTES", 10_000)
    found = Answers(tuple(map(str, range(1000))), UsualAnswers(), 0)
    found.add(np.full((2, 1000), 0.001, np.float32))
    assert found.classes.sum() == 0
    found.add(np.full((1, 1000), 0.001, np.float32))
    assert found.classes.sum() == 3
    assert not found._kept


@pytest.mark.parametrize("classes", [2, 10, 100, 1000])
@pytest.mark.parametrize("seed", range(5))
def test_the_same_answers_are_no_drift(classes: int, seed: int) -> None:
    found = Answers(tuple(map(str, range(classes))), usual(classes), 2000)
    found.add(rows([1.0] * classes, 2000, 8, seed=100 + seed))
    found.count()
    for drift in found.drift().values():
        assert drift.stability_index < 0.1
        assert drift.p_value > 1e-4


@pytest.mark.parametrize("classes", [2, 10, 100, 1000])
def test_another_mix_of_classes_is_drift_of_the_classes(classes: int) -> None:
    found = Answers(tuple(map(str, range(classes))), usual(classes), 2000)
    shares = [3.0] * (classes // 2) + [1.0] * (classes - classes // 2)
    found.add(rows(shares, 2000, 8, seed=3))
    found.count()
    drift = found.drift()
    assert drift["classes"].stability_index > 0.15
    assert drift["classes"].p_value < 1e-6
    assert drift["confidence"].stability_index < 0.1


def test_a_missing_class_and_unsure_answers_are_drift() -> None:
    missing = Answers(LABELS, usual(), 2000)
    missing.add(rows([1.0] * 9 + [0.0], 2000, 30, seed=4))
    missing.count()
    assert missing.drift()["classes"].stability_index > 0.25
    unsure = Answers(LABELS, usual(), 2000)
    unsure.add(rows([1.0] * 10, 2000, 3, seed=5))
    unsure.count()
    assert unsure.drift()["confidence"].stability_index > 0.25
    assert unsure.drift()["classes"].stability_index < 0.1


def test_drift_ends_when_answers_are_as_usual_again() -> None:
    found = Answers(LABELS, usual(), 1000)
    found.add(rows([1.0] + [0.1] * 9, 1000, 8, seed=6))
    found.count()
    assert found.drift()["classes"].stability_index > 0.25
    for seed in (7, 8):
        found.add(rows([1.0] * 10, 1000, 8, seed=seed))
        found.count()
    assert found.drift()["classes"].stability_index < 0.1


def test_too_few_images_tell_nothing() -> None:
    found = Answers(LABELS, usual(), 5000)
    found.add(rows([1.0] + [0.0] * 9, 999, 8, seed=9))
    found.count()
    assert found.drift() == {}
    assert Answers(LABELS, usual(images=999), 5000)._usual is None
    assert Answers(LABELS, UsualAnswers(), 5000)._usual is None
    assert Answers(LABELS, usual(), 0)._usual is None


@pytest.mark.parametrize(
    ("statistic", "freedom", "expected"),  # from tables: the upper 5 % and 1 % points
    [(3.841, 1, 0.05), (16.919, 9, 0.05), (21.666, 9, 0.01), (30.144, 19, 0.05), (0.0, 9, 1.0)],
)
def test_the_p_value(statistic: float, freedom: int, expected: float) -> None:
    assert answers._chi_square_p_value(statistic, freedom) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    "change",
    [
        {"confidence": []},
        {"confidence": [0] * 20},
        {"confidence": [10_000] + [0] * 13},
        {"classes": [1000] * 9},
        {"classes": [2**63, *[0] * 9]},
        {"images": 9_999},
        {"images": 0, "classes": [0] * 10, "confidence": [0] * 13},
        {"images": 2**64 - 1},
    ],
)
def test_counts_in_a_file_that_make_no_sense_are_none(change: dict[str, Any]) -> None:
    message = usual()
    for name, value in change.items():
        message.ClearField(name)
        if isinstance(value, list):
            getattr(message, name).extend(value)
        else:
            setattr(message, name, value)
    found = Answers(LABELS, message, 2000)
    found.add(rows([1.0] * 10, 2000, 8, seed=10))
    found.count()
    assert found.drift() == {}


def test_another_file_of_the_version_is_compared_with_from_then_on() -> None:
    found = Answers(LABELS, usual(), 2000)
    found.add(rows([1.0] * 9 + [0.0], 2000, 30, seed=4))
    found.count()
    assert found.drift()["classes"].stability_index > 0.25
    found.compare_with(usual_answers.to_message(rows([1.0] * 9 + [0.0], 10_000, 30, seed=11)))
    assert found.drift()["classes"].stability_index < 0.1
