"""The rules by which a canary is judged: figures in, a verdict out. Knows no model and no clock.

A rule speaks only where chance alone hardly explains what it sees: it takes the bound of a share that lies 3 standard
errors away (Wilson, 1927), which 1 of 740 fair samples passes, and a minimum number of calls or images. Images that
came together are not independent samples, and a rule looks often; so these numbers are a guard against noise, not a
proof.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from covey_server.models.canary import Outcome
from covey_server.observability.tally import SECONDS

# Why a canary ended: it answered enough; calls of it failed; it takes longer; it answers otherwise than the served
# version; its answers are of another kind; it is less accurate on the labelled images; they cannot be used.
Reason = Literal["enough", "errors", "slow", "agreement", "contract", "accuracy", "gate"]
REASONS: tuple[Reason, ...] = get_args(Reason)
MAX_MORE_ERRORS = 0.01  # share of a canary's calls that may fail beyond the served version's
MAX_MORE_LATE = 0.01  # share of them that it may have no time for, in the same way
MIN_CALLS = 10  # of a canary, before errors count
MIN_TIMED = 200  # calls of either version, before their times count
MIN_RUNS = 20  # of both versions on the same images, before run times count
MIN_COMPARED = 20  # images, before agreement counts
MIN_COMPARED_TO_PROMOTE = 100  # or all, where fewer images are asked for
_SLOW = 0.01  # the share of calls that a 99th percentile leaves above it
_ERRORS = 3.0  # standard errors


class Figures(NamedTuple):
    """Counts of one version, in a span of time. `late` are calls that it had no time for: their deadline passed, or
    could not be met. `times` are answered calls by how long they took, between the bounds of `SECONDS`; `invalid` are
    images of no finite answer."""

    ok: int
    failed: int
    late: int
    images: int
    invalid: int
    times: tuple[int, ...]

    def since(self, before: Figures) -> Figures:
        """What has come since then."""
        return Figures(
            self.ok - before.ok,
            self.failed - before.failed,
            self.late - before.late,
            self.images - before.images,
            self.invalid - before.invalid,
            tuple(now - then for now, then in zip(self.times, before.times, strict=True)),
        )

    @property
    def errors(self) -> tuple[int, int]:
        """What failed, and of how many: calls, or images if more of them did."""
        calls, images = (self.failed, self.ok + self.failed), (self.invalid, self.images)
        return max(calls, images, key=lambda each: each[0] / max(each[1], 1))

    @property
    def lateness(self) -> tuple[int, int]:
        """The calls that it had no time for, and of how many."""
        return self.late, self.late + sum(self.times)


class Compared(NamedTuple):
    """What came of images that both versions ran: how many got the same class, and of how many; in how many runs both
    were timed, and how long those took them together."""

    agreed: int
    of: int
    runs: int = 0
    canary_s: float = 0.0
    served_s: float = 0.0


class Verdict(NamedTuple):
    """What becomes of a canary; `text` says why."""

    outcome: Outcome
    reason: Reason
    text: str


@dataclass(frozen=True)
class Rules:
    """`agreement`: the minimum share of images that get the same class. `slowdown`: how many times as long the same
    images, and calls, may take. `images`, `window_s`: what a canary has to answer, and for how long, before it is
    promoted."""

    agreement: float
    slowdown: float
    images: int
    window_s: float

    def judge(
        self, canary: Figures, served: Figures, compared: Compared, elapsed_s: float, served_name: str
    ) -> Verdict | None:
        """What the figures say; None: nothing yet."""
        broken = (
            self._errors(canary, served, served_name)
            or self._agreement(compared, served_name)
            or self._runs_longer(compared, served_name)
            or self._is_late(canary, served, served_name)
            or self._takes_longer(canary, served, served_name)
        )
        if broken is not None:
            return broken
        agreed, of = compared[:2]
        if canary.images < self.images or elapsed_s < self.window_s or of < min(MIN_COMPARED_TO_PROMOTE, self.images):
            return None
        if agreed < self.agreement * of or _share(canary.errors) > _share(served.errors) + MAX_MORE_ERRORS:
            return None  # it may be chance; more images will tell
        if (
            min(canary.lateness[1], served.lateness[1]) < MIN_TIMED
            and _share(canary.lateness) > _share(served.lateness) + MAX_MORE_LATE
        ):
            return None  # a few calls may bring all the images; more calls will tell
        return Verdict("promoted", "enough", f"it has answered {canary.images:,} images in {elapsed_s:.0f} s")

    def _errors(self, canary: Figures, served: Figures, served_name: str) -> Verdict | None:
        failed, of = canary.errors
        limit = _share(served.errors) + MAX_MORE_ERRORS
        if of < MIN_CALLS or bounds(failed, of)[0] <= limit:
            return None
        return _broken(
            "errors", f"{failed:,} of {of:,} failed, and of {served_name} {served.errors[0]:,} of {served.errors[1]:,}"
        )

    def _runs_longer(self, compared: Compared, served_name: str) -> Verdict | None:
        """By the same images in the same batches: what calls take also depends on who else waits for a thread, and a
        slow canary makes the served version's calls wait too."""
        runs, mine_s, others_s = compared[2:]
        if runs < MIN_RUNS or mine_s <= self.slowdown * others_s:
            return None
        times = f"{mine_s / others_s:.1f}" if others_s else "more"
        return _broken("slow", f"the same images took it {times} times as long as {served_name}, in {runs:,} runs")

    def _is_late(self, canary: Figures, served: Figures, served_name: str) -> Verdict | None:
        """By itself, since `_takes_longer` says nothing where the served version is late too, or slower than `SECONDS`
        can tell."""
        of, served_of = canary.lateness[1], served.lateness[1]
        limit = _share(served.lateness) + MAX_MORE_LATE
        if min(of, served_of) < MIN_TIMED or bounds(canary.late, of)[0] <= limit:
            return None
        return _broken(
            "slow",
            f"it could not meet the deadlines of {canary.late:,} of {of:,} calls, and {served_name} those of "
            f"{served.late:,} of {served_of:,}",
        )

    def _takes_longer(self, canary: Figures, served: Figures, served_name: str) -> Verdict | None:
        of = canary.lateness[1]
        if min(of, sum(served.times)) < MIN_TIMED:
            return None
        usual_s = percentile_s(served.times, served.late)
        place = next((place for place, bound in enumerate(SECONDS) if bound >= usual_s * self.slowdown), None)
        if place is None:
            return None
        slow = canary.late + sum(canary.times[place + 1 :])
        if bounds(slow, of)[0] <= _SLOW:
            return None
        return _broken(
            "slow",
            f"{slow:,} of {of:,} calls took longer than {SECONDS[place] * 1e3:g} ms, and 99% of {served_name} up to "
            f"{usual_s * 1e3:g} ms",
        )

    def _agreement(self, compared: Compared, served_name: str) -> Verdict | None:
        agreed, of = compared[:2]
        if of < MIN_COMPARED or bounds(agreed, of)[1] >= self.agreement:
            return None
        return _broken(
            "agreement",
            f"{agreed / of:.1%} of {of:,} images got the same class from {served_name}, at least {self.agreement:.1%} "
            f"are to",
        )


def bounds(count: int, of: int) -> tuple[float, float]:
    """Between which shares the true one lies, 3 standard errors around what was seen."""
    if not of:
        return 0.0, 1.0
    share, square = count / of, _ERRORS**2
    middle = share + square / (2 * of)
    half = _ERRORS * math.sqrt(share * (1 - share) / of + square / (4 * of * of))
    return (middle - half) / (1 + square / of), (middle + half) / (1 + square / of)


def percentile_s(times: Sequence[int], late: int = 0) -> float:
    """Up to how long 99 % of the calls took: a bound of `SECONDS`, or infinity."""
    wanted = (1 - _SLOW) * (sum(times) + late)
    seen = 0
    for bound, count in zip(SECONDS, times, strict=False):
        seen += count
        if seen >= wanted:
            return bound
    return math.inf


def _share(errors: tuple[int, int]) -> float:
    return errors[0] / errors[1] if errors[1] else 0.0


def _broken(reason: Reason, text: str) -> Verdict:
    return Verdict("rolled_back", reason, text)
