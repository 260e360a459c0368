"""Classes that several models are differently good at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from covey_export.reports.drawing import classes
from covey_export.reports.findings import Findings
from covey_proto.wording import signed
from covey_reports.canvas import Picture
from covey_reports.language import listing, say


@dataclass(frozen=True)
class ClassChanges:
    """Classes that all models know and have test images of, with each one's accuracy: of two models those first that
    the second gained most of, of more models those that differ most."""

    rows: tuple[tuple[str, tuple[float, ...]], ...]

    @classmethod
    def of(cls, found: Sequence[Findings]) -> ClassChanges:
        """The changes between two models or more."""
        known = [dict(zip(each.labels, each.class_accuracy, strict=True)) for each in found]
        rows = []
        for label in found[0].labels:
            shares = [each.get(label) for each in known]
            if (measured := [share for share in shares if share is not None]) and len(measured) == len(shares):
                rows.append((label, tuple(measured)))
        if len(found) == 2:
            return cls(tuple(sorted(rows, key=lambda row: row[1][0] - row[1][1])))
        return cls(tuple(sorted(rows, key=lambda row: min(row[1]) - max(row[1]))))

    @property
    def table(self) -> list[tuple[str, ...]]:
        """Class, each accuracy, and the points between the lowest and the highest, of two models with its sign."""
        return [
            (
                label,
                *(f"{share:.2%}" for share in shares),
                signed((shares[1] - shares[0]) * 100, ".2f")
                if len(shares) == 2
                else f"{(max(shares) - min(shares)) * 100:.2f}",
            )
            for label, shares in self.rows
        ]

    @property
    def gained(self) -> dict[str, object]:
        """How many classes a second model is better at than the first, and which most."""
        return _named([row for row in self.rows if row[1][1] > row[1][0]])

    @property
    def lost(self) -> dict[str, object]:
        """The same of those it is worse at."""
        return _named([row for row in reversed(self.rows) if row[1][1] < row[1][0]])

    def draw(self, names: Sequence[str]) -> Picture | None:
        """None where there is no such class."""
        if not self.rows:
            return None
        rows, are_two = self.rows, len(names) == 2
        half = classes.MAX_ROWS // 2
        if len(rows) <= classes.MAX_ROWS:
            caption = (
                say("Every class that all know, the largest gain first.")
                if are_two
                else say("Every class that all know, the largest difference first.")
            )
        elif are_two:
            caption = say(
                "The {half} classes that gained most and the {half} that lost most, of {all:,}.",
                half=half,
                all=len(rows),
            )
            rows = (*rows[:half], *rows[-half:])
        else:
            caption = say("The {count} classes that differ most, of {all:,}.", count=classes.MAX_ROWS, all=len(rows))
            rows = rows[: classes.MAX_ROWS]
        return classes.draw_compared_class_accuracies(names, rows, caption)


def _named(rows: Sequence[tuple[str, tuple[float, ...]]]) -> dict[str, object]:
    text = listing([f"{label} ({signed((shares[1] - shares[0]) * 100, '.1f')})" for label, shares in rows])
    return {"count": len(rows), "classes": text or say("none")}
