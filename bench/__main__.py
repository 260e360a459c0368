"""`python -m bench`: measures the server against its floors, prints the table, writes bench/results/."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from bench.picture import draw_goals
from bench.plan import SCENARIOS
from bench.processes import BenchError
from bench.rows import Row, describe_machine, missing_row, write_json, write_text
from bench.run import Run, add_arguments, started
from bench.table import render_markdown, render_table


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 once everything was measured, whatever the ratios are; 1 where something could not be."""
    options = _parse(arguments)
    if not sys.platform.startswith("linux"):
        print("bench: CPU time is read from /proc, so this runs on Linux only", file=sys.stderr)
        return 1
    machine = describe_machine()
    with started(options, options.rounds, options.seconds, _report) as run:
        results = run.results
        rows, complete = measure(run, options.only, lambda rows: write_json(results / "latest.json", rows, machine))
    caption = f"{machine['cpu']}, {machine['cores']} cores, {machine['date']}, {options.rounds} rounds"
    write_text(results / "latest.md", render_markdown(rows, machine))
    draw_goals(rows, caption, results / "latest.png")
    print(f"\n{render_table(rows)}\n\n{caption}. The load generator shares the machine.")
    print(f"Written to {results}: latest.json, latest.md (all figures), latest.png")
    return 0 if complete else 1


def measure(run: Run, names: Sequence[str], keep: Callable[[Sequence[Row]], object]) -> tuple[list[Row], bool]:
    """The rows of these scenarios, in the order of the plan. One that fails becomes a row that says why, and the
    others go on; whether none did is the second answer. After each, `keep` gets all rows so far."""
    rows: list[Row] = []
    complete = True
    for name in (name for name in SCENARIOS if name in names):
        try:
            rows += SCENARIOS[name](run)
        except BenchError as error:
            _report(f"{name} failed: {error}")
            rows.append(missing_row(name, "all", "", None, f"failed: {str(error).splitlines()[0]}"))
            complete = False
        keep(rows)
    return rows, complete


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one load")
    add_arguments(parser, "NAME", "small ones")
    parser.add_argument(
        "--only", type=_names, default=list(SCENARIOS), metavar="NAME,...", help=f"of {', '.join(SCENARIOS)}"
    )
    return parser.parse_args(arguments)


def _names(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown:
        raise argparse.ArgumentTypeError(f"no scenario {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    return names


def _report(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
