"""`make fuzz`: 200,000 mutated requests on a running server, on each front of gRPC and over HTTP.

    python -m tests.fuzz [--front native|grpcio|http] [--cases N] [--seed N] [--only NUMBER]

Exit code 1 where anything was found; each suspect is in a file then, which says how to send it again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from tests.fuzz.cases import case, cases
from tests.fuzz.findings import write_findings
from tests.fuzz.http_cases import http_case, http_cases
from tests.fuzz.run import HTTP, Verdict, fuzz


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzzes each front asked for; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--front", choices=("native", "grpcio", HTTP), help="default: one after the other")
    parser.add_argument("--cases", type=int, default=200_000, help="requests on each front (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="another one makes other requests (default: %(default)s)")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="send this one case alone")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"), help="folder for requests that fail")
    options = parser.parse_args(arguments)
    console = Console() if sys.stdout.isatty() else Console(width=120)
    failed = False
    for front in [options.front] if options.front else ["native", "grpcio", HTTP]:
        with tempfile.TemporaryDirectory(prefix="covey-fuzz-") as folder:
            verdict = _run(console, Path(folder), front, options)
        _show(console, front, options.seed, verdict)
        for finding in verdict.findings:
            console.print(f"found: {finding.what}", style="red", markup=False, highlight=False)
        for path in write_findings(options.findings, front, options.seed, verdict.findings):
            console.print(f"  {path}")
        failed = failed or bool(verdict.findings)
    return int(failed)


def _run(console: Console, folder: Path, front: str, options: argparse.Namespace) -> Verdict:
    count = options.cases if options.only is None else 1
    make, make_all = (http_case, http_cases) if front == HTTP else (case, cases)
    chosen = make_all(options.seed, count) if options.only is None else iter([make(options.seed, options.only)])
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(f"fuzzing, front {front}", total=count)
        return fuzz(folder, front, chosen, count, lambda done: progress.update(task, completed=done))


def _show(console: Console, front: str, seed: int, verdict: Verdict) -> None:
    """Counts of answers by kind of case and status, and what was measured."""
    tally = verdict.tally
    kinds = sorted({kind for kind, _ in tally.statuses})
    names = sorted({name for _, name in tally.statuses}, key=tally.total, reverse=True)
    title = f"{tally.done:,} requests, front {front}, seed {seed}, in {verdict.seconds:.0f} s"
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("answer", no_wrap=True)
    for kind in (*kinds, "all"):
        table.add_column(kind, justify="right")
    for name in names:
        counts = [tally.statuses[kind, name] for kind in kinds]
        table.add_row(name, *(f"{count:,}" if count else "" for count in counts), f"{sum(counts):,}")
    console.print(table)
    if front != HTTP:
        console.print(
            f"INTERNAL by the server's own count: {verdict.internal}; those above are said by the front's library, of "
            f"requests that break gRPC's own rules and never reached the server",
            highlight=False,
        )
        images = ", ".join(f"{count:,} {what.replace('_', ' ')}" for what, count in tally.images.most_common())
        console.print(f"images in answers: {images}", highlight=False)
    growth = "not judged, too few requests" if verdict.growth is None else f"{verdict.growth:+.1%} in the second half"
    console.print(f"resident memory {verdict.resident_bytes / 2**20:.0f} MB, {growth}", highlight=False)
    slowest = ", ".join(
        f"{seconds:.2f} s (case {number})" for seconds, number in sorted(tally.slowest, reverse=True)[:3]
    )
    console.print(
        f"slowest answers: {slowest}; this process itself stood still for up to {tally.standstill_s:.2f} s",
        highlight=False,
    )


if __name__ == "__main__":
    sys.exit(main())
