"""Counts of rows, and the summary that they make."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Self

from covey_proto.wording import plural
from covey_server.offline.rows import Block

_MAX_CLASSES = 20  # in the table


class Tally:
    """The number of images, of images of each class (by index; -1: none of the labels was given), of images of no known
    class, and of failures by reason."""

    def __init__(self) -> None:
        self.images = 0
        self.unknown = 0
        self.classes: Counter[int] = Counter()
        self.failures: Counter[str] = Counter()

    @classmethod
    def of(cls, blocks: Sequence[Block]) -> Self:
        tally = cls()
        for _, answers in blocks:
            answered = [index for index in range(len(answers)) if index not in answers.failures]
            tally.images += len(answers)
            tally.classes.update(answers.classes[answered, 0].tolist())
            tally.failures.update(failure.reason for failure in answers.failures.values())
            if answers.known is not None:
                tally.unknown += len(answered) - int(answers.known[answered].sum())
        return tally

    @classmethod
    def from_json(cls, text: str) -> Self:
        tally, counts = cls(), json.loads(text)
        tally.images, tally.unknown = counts["images"], counts["unknown"]
        tally.classes.update({int(index): count for index, count in counts["classes"].items()})
        tally.failures.update(counts["failures"])
        return tally

    def to_json(self) -> str:
        counts = {"images": self.images, "unknown": self.unknown, "classes": self.classes, "failures": self.failures}
        return json.dumps(counts)

    def add(self, other: Tally) -> None:
        self.images += other.images
        self.unknown += other.unknown
        self.classes.update(other.classes)
        self.failures.update(other.failures)

    def lines(self, labels: Sequence[str], abstains: bool) -> list[str]:
        """Lines for people: the classes, the most frequent first, and the failures."""
        table = [
            ("none of the labels" if index < 0 else labels[index], count)
            for index, count in self.classes.most_common(_MAX_CLASSES)
        ]
        width = max([5, *(len(name) for name, _ in table)])
        lines = [f"  {name:{width}}  {count:>11,}  {count / self.images:7.2%}" for name, count in table]
        if len(self.classes) > _MAX_CLASSES:
            lines.append(f"  and {plural(len(self.classes) - _MAX_CLASSES, 'more class', 'more classes')}")
        if abstains:
            lines.append(
                f"{plural(self.unknown, 'image')} of these {'is' if self.unknown == 1 else 'are'} of no known class"
            )
        failed = self.failures.total()
        if failed:
            lines.append(f"{plural(failed, 'image')} without an answer; the column error says why:")
            lines += [f"  {reason}: {count:,}" for reason, count in self.failures.most_common()]
        return lines
