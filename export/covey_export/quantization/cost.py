"""How much accuracy a variant may lose by computing in fewer bits."""

from __future__ import annotations

from covey_proto.wording import plural

MAX_ACCURACY_LOSS = 0.005  # of a variant, as a share of the images; of few images, one may always be lost
MAX_CHANGED = 0.05  # the same, where nobody knows the right answers: share of images that get another one


def points(lost: float) -> str:
    """A loss of accuracy (a share) for people: "0.12 points lost"."""
    return f"{abs(lost) * 100:.2f} points {'gained' if lost < 0 else 'lost'}"


def accuracy_problem(accuracy: float, expected: float, images: int, *, reference: str, kind: str) -> str:
    """A sentence where too much accuracy (a share) is lost on so many images of a `kind`, else empty; `reference` says
    whose accuracy was expected."""
    if round((expected - accuracy) * images) <= max(1, int(MAX_ACCURACY_LOSS * images)):
        return ""
    return (
        f"accuracy {accuracy:.2%}, {reference} {expected:.2%}, on {plural(images, kind)}: "
        f"{points(expected - accuracy)}, allowed are {MAX_ACCURACY_LOSS * 100:.2f}"
    )


def changes_problem(changed: int, images: int) -> str:
    """A sentence where too many images get another answer, else empty."""
    if changed <= max(1, int(MAX_CHANGED * images)):
        return ""
    return f"{changed:,} of {plural(images, 'image')} get another label, allowed are {MAX_CHANGED:.0%}"


def batches_problem(difference: float, tolerance: float, sizes: tuple[int, ...]) -> str:
    """A sentence where the same image's probabilities depend on its batch, else empty."""
    if difference <= tolerance:
        return ""
    return (
        f"the same image's probabilities differ by up to {difference:.2g} between batches of "
        f"{', '.join(map(str, sizes))}, allowed are {tolerance:.2g}"
    )
