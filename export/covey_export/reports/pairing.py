"""What two models make of the same test images, and whether one of them is better."""

from __future__ import annotations

from dataclasses import dataclass

from covey_export.reports.findings import Findings
from covey_reports.language import say

_CERTAIN = 0.05  # below, a difference is more than chance


@dataclass(frozen=True)
class Pairing:
    """Counts of test images."""

    both_right: int
    only_first_right: int
    only_second_right: int
    both_wrong: int

    @property
    def chance(self) -> float:
        """How probable so uneven a split, or a more uneven one, is where neither model is better: the exact
        two-sided sign test on the images that only one of them got right (McNemar 1947)."""
        few, many = sorted((self.only_first_right, self.only_second_right))
        split = few + many
        ways = as_uneven = 1  # to choose `count` of `split`, from 0 on; and those so far
        for count in range(few):
            ways = ways * (split - count) // (count + 1)
            as_uneven += ways
        return min(1.0, 2 * as_uneven / (1 << split))

    def verdict(self, names: tuple[str, str], pairs: int = 1) -> str:
        """Which of the two models is better, as a sentence. `pairs`: how many are judged on the page. The more there
        are, the more likely one of them looks better by chance, so that p counts that many times (Bonferroni)."""
        if self.only_first_right == self.only_second_right:
            return say("{one} and {other}: neither is better on these images.", one=names[0], other=names[1])
        better, other = names[::-1] if self.only_second_right > self.only_first_right else names
        chance = min(1.0, self.chance * pairs)
        reason = say("more than chance explains") if chance < _CERTAIN else say("which may well be chance")
        return say(
            "{better} is right on more images than {other}, {reason}: p = {chance:.2g} (exact sign test on the "
            "{images:,} images that only one of the two got right{times}).",
            better=better,
            other=other,
            reason=reason,
            chance=chance,
            images=self.only_first_right + self.only_second_right,
            times=say(", times the {pairs} pairs of this page", pairs=pairs) if pairs > 1 else "",
        )


def pair(first: Findings, second: Findings) -> Pairing | None:
    """None where the test images are not the same."""
    if first.images_digest != second.images_digest:
        return None
    wrong, also = set(first.mistakes), set(second.mistakes)
    return Pairing(first.test_images - len(wrong | also), len(also - wrong), len(wrong - also), len(wrong & also))
