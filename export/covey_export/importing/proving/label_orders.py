"""Other orders that a network's labels may be in, and which of them fits the answers better."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

_MIN_PER_CLASS = 4  # images, for an order that is guessed from the answers


def best(
    probabilities: NDArray[np.float32], labels: Sequence[str], truth: NDArray[np.int64], is_guessed: bool = False
) -> NDArray[np.bool_]:
    """Which images are right in the order of labels that makes most of them right. `probabilities` are the answers,
    `truth` the images' labels; an order guessed from the answers counts where `is_guessed`."""
    outputs = probabilities.argmax(axis=1)
    orders = likely(labels, probabilities, truth) if is_guessed else _usual(labels)
    candidates = [outputs == truth, *(np.asarray(order)[outputs] == truth for order, _ in orders)]
    return max(candidates, key=lambda right: float(right.mean()))


def likely(
    labels: Sequence[str], probabilities: NDArray[np.float32], truth: NDArray[np.int64]
) -> Iterator[tuple[list[int], str]]:
    """Other orders of the labels, among them the one that the answers show. An order gives for each output the label
    that it would stand for."""
    natural = list(range(len(labels)))
    usual = list(_usual(labels))
    yield from usual
    guessed = _guessed(probabilities.argmax(axis=1), truth, len(labels))
    if guessed is not None and guessed not in [natural, *(order for order, _ in usual)]:
        first = next(index for index in natural if guessed[index] != index)
        is_now, is_not = labels[guessed[first]], labels[first]
        yield guessed, f"the labels in another order (output {first} is {is_now!r}, not {is_not!r})"


def _usual(labels: Sequence[str]) -> Iterator[tuple[list[int], str]]:
    """The orders, as in `likely`, of frequent mistakes."""
    count = len(labels)
    natural = list(range(count))
    orders = [natural]
    alphabetical = sorted(natural, key=lambda place: labels[place])
    as_text = sorted(natural, key=str)  # 0, 1, 10, 11, 2: folders named by number
    inverse = [as_text.index(index) for index in natural]
    for order, what in (
        (alphabetical, "the labels in alphabetical order"),
        (as_text, "the labels in the order of folders named by number (0, 1, 10, 2)"),
        (inverse, "the labels sorted by number, their folders not"),
        ([max(0, index - 1) for index in natural], "the labels moved by one, after a class for the background"),
        ([min(count - 1, index + 1) for index in natural], "the labels moved by one, without the first"),
        (natural[::-1], "the labels in reverse order"),
    ):
        if order not in orders:
            orders.append(order)
            yield order, what


def _guessed(outputs: NDArray[np.int64], truth: NDArray[np.int64], count: int) -> list[int] | None:
    """The order that the answers themselves show, found on half of the images and confirmed on the other half: each
    output stands for the class whose images it is given for most often. None where there is none."""
    classes = np.unique(truth[truth >= 0])
    if len(classes) < 2 or min(int((truth == class_index).sum()) for class_index in classes) < _MIN_PER_CLASS:
        return None
    turn = np.zeros(len(truth), np.int64)
    for class_index in classes:
        places = np.flatnonzero(truth == class_index)
        turn[places] = np.arange(len(places)) % 2
    orders = [_majority(outputs[turn == half], truth[turn == half], count) for half in (0, 1)]
    if orders[0] is None or orders[0] != orders[1]:
        return None
    return orders[0]


def _majority(outputs: NDArray[np.int64], truth: NDArray[np.int64], count: int) -> list[int] | None:
    table = np.zeros((count, count), np.int64)
    np.add.at(table, (outputs[truth >= 0], truth[truth >= 0]), 1)
    order = list(range(count))
    used: dict[int, int] = {}
    for output in sorted(range(count), key=lambda output: -int(table[output].max())):
        if table[output].max() == 0:
            continue
        label = int(table[output].argmax())
        if label in used:
            return None
        used[label] = output
        order[output] = label
    free = [output for output in range(count) if output not in used]
    for output in range(count):
        if output not in used.values():
            order[output] = free.pop(free.index(output)) if output in free else free.pop(0)
    return order
