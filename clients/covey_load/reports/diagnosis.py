"""What the doctor found, as text of at most 100 columns."""

from __future__ import annotations

from covey_load import doctor
from covey_load.doctor import Finding, Runs
from covey_load.measurement import Report
from covey_load.reports import facts, words
from covey_load.reports.summary import aligned, wrap
from covey_load.reports.tables import Table
from covey_load.reports.words import number


def write_diagnosis(report: Report, runs: Runs) -> str:
    """The whole text, without a last line break. `runs` are those of `report`."""
    limit = doctor.limit(runs)
    article = "" if limit.part == doctor.UNKNOWN else "the "
    others = "\n".join(_sentence(finding) for finding in doctor.others(runs))
    remarks = "\n".join(wrap(line, indent="  ") for line in facts.remarks(report))
    parts = [
        wrap(words.subject(report)),
        aligned(_overview(report)),
        wrap(f"What limits it: {article}{limit.part}. {limit.sentence[0].upper()}{limit.sentence[1:]}."),
        others,
        remarks,
    ]
    return "\n\n".join(part for part in parts if part)


def _overview(report: Report) -> Table:
    rows = [
        [
            f"{words.load_name(run.load)}",
            number(run.calls_per_s),
            number(run.response.percentiles_ms.get("50")),
            number(run.response.percentiles_ms.get("99")),
        ]
        for run in report.runs
    ]
    return Table(["run; latency in ms", "calls/s", "p50", "p99"], rows)


def _sentence(finding: Finding) -> str:
    return wrap(f"- {finding.sentence}", indent="  ")
