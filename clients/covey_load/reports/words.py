"""How numbers and names are written, the same in the summary, on the page and in a comparison."""

from __future__ import annotations

import math
from collections.abc import Sequence

from covey_load.measurement import BY_CTRL_C, Load, Report, Run
from covey_proto.wording import plural as plural

NOTHING = "-"


def number(value: float | None) -> str:
    """A number with three significant digits and all digits before the point: 0.482, 1.53, 153, 15,321. `-` for
    None."""
    if value is None:
        return NOTHING
    if abs(value) < 0.0005:
        return "0"
    rounded = max(abs(value), float(f"{abs(value):.3g}"))  # 0.9996 has a digit before the point, once it is 1.00
    digits_before_point = math.floor(math.log10(rounded)) + 1
    return f"{value:,.{min(max(3 - digits_before_point, 0), 3)}f}"


def interval(bounds: tuple[float, float] | None) -> str:
    return NOTHING if bounds is None else f"{number(bounds[0])} to {number(bounds[1])}"


def share(part: float) -> str:
    """A percentage that is 0 or 100 only where it is so exactly."""
    if 0 < part < 0.0001:
        return "<0.01%"
    if 0.9999 < part < 1:
        return ">99.99%"
    return f"{part:.2%}"


def size(count: int) -> str:
    """Bytes in thousands: 812 bytes, 1.3 kB, 98.1 MB."""
    if count < 1_000:
        return plural(count, "byte")
    power = min(int(math.log10(count)) // 3, 3)
    return f"{count / 1_000**power:.1f} {('kB', 'MB', 'GB')[power - 1]}"


def counts(by_name: dict[str, int]) -> str:
    """`12 DEADLINE_EXCEEDED, 3 UNAVAILABLE`, the most frequent first."""
    ordered = sorted(by_name.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count:,} {name}" for name, count in ordered)


def load_name(load: Load) -> str:
    """The name of a load, with its repetition if it has several."""
    return f"{load.name} #{load.repetition + 1}" if load.repetition else load.name


def numbered_names(runs: Sequence[Run]) -> list[str]:
    """The runs' names; several have numbers, by which charts refer to them."""
    numbered = enumerate((load_name(run.load) for run in runs), start=1)
    return [f"{number}: {name}" if len(runs) > 1 else name for number, name in numbered]


def ended_early(why: str) -> str:
    """Of a report that was interrupted."""
    return f"ended early {why}" if why == BY_CTRL_C else f"ended early: {why}"


def models(report: Report) -> str:
    """The models: `lenet`, or a mix: `lenet 75.00%, vgg 25.00%`; the default model by its name where the server told
    it."""
    parts = {name or report.server.get("model", "the default model"): part for name, part in report.models.items()}
    if len(parts) == 1:
        return next(iter(parts))
    return ", ".join(f"{name} {share(part / sum(parts.values()))}" for name, part in parts.items())


def subject(report: Report) -> str:
    """What was measured: `lenet at localhost:8001, by covey`."""
    return f"{models(report)} at {report.target}, by {report.protocol}"
