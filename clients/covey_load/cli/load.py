"""`covey load`: measures a server under load, and compares such measurements."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from covey.cli.exits import Exit
from covey.errors import InvalidInput
from covey_load.cli import load_options

if TYPE_CHECKING:
    from covey_load.measurement import Report

NAME = "load"
SUMMARY = "measure a server under load"
DESCRIPTION = """\
Measure a server under load: its own protocol, over gRPC or HTTP, or any server of the Open Inference Protocol.

  covey load [TARGET] --concurrency 1,8,64         closed loop: what the server can do
  covey load [TARGET] --rate 500                   open loop: what its users see
  covey load [TARGET] --find-capacity --slo-ms 20  the highest rate that keeps a bound
  covey load compare BEFORE.json AFTER.json ...    whether one is faster than the other

exit codes of its own:
  0    measured, and the figures may be believed
  3    the server could not be reached, went away while measured, or answered no call
  4    measured, but the figures must not be believed: the summary says why
  5    a figure is not as --assert demands
  130  ended by Ctrl-C; what was measured until then is reported
"""
_COMPARE = "compare"
_MISSING = (
    "the package {name!r} is not installed; covey load, doctor and plan need an extra: pip install 'covey-serve[load]'"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words",
        nargs="*",
        metavar="TARGET | compare A.json B.json",
        help="the server, as --target; or reports to compare with the first",
    )
    load_options.add_arguments(parser)
    group = parser.add_argument_group("the report")
    group.add_argument("--json", type=Path, metavar="FILE", help="write it as JSON")
    group.add_argument("--html", type=Path, metavar="FILE", help="write it as a page with charts")
    group.add_argument("--assert", dest="assertions", metavar="FIGURE<N[,...]", help="exit with 5 unless these hold")
    group.add_argument("--quiet", action="store_true", help="show no progress")
    group.add_argument("--anyway", action="store_true", help="with compare: even where payload, bound or loads differ")


def run(options: argparse.Namespace) -> Exit:
    """Measures, or compares. Raises CoveyError where there is nothing to report."""
    try:
        if options.words[:1] == [_COMPARE]:
            return _compare(options)
        return _measure(options)
    except ModuleNotFoundError as error:
        raise missing_package(error) from error


def missing_package(error: ModuleNotFoundError) -> Exception:
    """The error to raise instead: it says what to install, or is the error itself where one of our modules is
    missing."""
    package = (error.name or "").partition(".")[0]
    return error if package.startswith("covey") else InvalidInput(_MISSING.format(name=package))


def _measure(options: argparse.Namespace) -> Exit:
    from covey_load import assertions, runner
    from covey_load.live import Live
    from covey_load.reports import text

    if len(options.words) > 1:
        raise InvalidInput(f"one target at a time, not {', '.join(options.words)}; or: compare A.json B.json")
    if options.anyway:
        raise InvalidInput("--anyway goes with compare only: omit it")
    plan = load_options.plan(options, *options.words)
    demands = assertions.parse(options.assertions) if options.assertions is not None else []
    assertions.require_judgeable(demands, plan)
    _require_folders(options.json, options.html)
    if options.quiet:
        report = runner.run(plan)
    else:
        with Live(sys.stderr) as live:
            report = runner.run(plan, live.show)
    try:
        _write(report, options)  # before the summary, which may find nobody who reads it
    finally:
        print(text.write_summary(report))
    if passes := assertions.passes(demands, report):
        print("\n" + "\n".join(text.wrap(f"- {sentence}", indent="  ") for sentence in passes))
    failures = assertions.failures(demands, report)
    for failure in failures:
        print(f"covey: {failure}", file=sys.stderr)
    return _exit(report, failures)


def _write(report: Report, options: argparse.Namespace) -> None:
    if options.json:
        from covey_load.reports import json_file

        json_file.write(options.json, report)
    if options.html:
        from covey_load.reports import page

        page.write(options.html, report)


def _require_folders(*paths: Path | None) -> None:
    """Checks before the load that reports can be written: after it would be too late."""
    for path in paths:
        if path is not None and not path.absolute().parent.is_dir():
            raise InvalidInput(f"{path}: there is no folder {path.absolute().parent} to write to")
        if path is not None and path.exists() and not path.is_file():
            raise InvalidInput(f"{path}: is no file that could be replaced; give one, or a new name")


def _exit(report: Report, failures: list[str]) -> Exit:
    from covey_load.measurement import BY_CTRL_C
    from covey_load.reports import verdict

    if report.interrupted:
        return Exit.INTERRUPTED if report.interrupted == BY_CTRL_C else Exit.SERVER
    if verdict.invalid_runs(report):
        return Exit.INVALID
    if failures:
        return Exit.ASSERTION_FAILED
    return Exit.OK if any(run.response.count for run in report.runs) else Exit.SERVER


def _compare(options: argparse.Namespace) -> Exit:
    from covey_load.compare import compare
    from covey_load.reports import json_file
    from covey_load.reports.text import write_comparison

    files: list[str] = options.words[1:]
    if unused := _given(options) - {"--anyway", "--quiet"}:
        raise InvalidInput(f"covey load compare measures and writes nothing: leave out {', '.join(sorted(unused))}")
    if len(files) < 2:
        raise InvalidInput(f"covey load compare takes two files of covey load --json or more, not {len(files)}")
    first, *others = (json_file.read(Path(file)) for file in files)
    texts = [
        write_comparison((files[0], file), (first, other), compare(first, other, anyway=options.anyway))
        for file, other in zip(files[1:], others, strict=True)
    ]
    print("\n\n\n".join(texts))
    return Exit.OK


def _given(options: argparse.Namespace) -> set[str]:
    """The command's options that were given a value other than their default."""
    parser = argparse.ArgumentParser(add_help=False)
    add_arguments(parser)
    options_of_command = [action for action in parser._actions if action.option_strings]
    return {
        action.option_strings[0] for action in options_of_command if getattr(options, action.dest) != action.default
    }
