"""The `covey` command: its arguments, its exit codes, and errors in one line. Each command has a file of its own."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence

from covey import __version__
from covey.cli import choose, classify, connection, explain, forwarding, info, label, models, table, wait
from covey.cli.exits import Exit
from covey.errors import CoveyError, InvalidInput, InvalidRequest, UnknownModel
from covey_proto.command_line import Parser, discard_output

_EPILOG = f"""\
{connection.ENVIRONMENT}
exit codes:
  0    everything was answered
  1    a file could not be read or sent, or is no image; the others were classified
  2    wrong usage, a model the server does not serve, or a --top-k it refuses
  3    the server could not be reached, or failed to answer
  4    of load: measured, but the figures must not be believed
  5    of load: a figure is not as --assert demands
  130  ended by Ctrl-C
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command, of the command line unless `arguments` are given, and returns its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names and labels may have letters that it has not
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given[:1] and given[0] in forwarding.COMMANDS:
        return forwarding.run(given)
    try:
        options = _parse(given)
        code = int(options.run(options))
        _flush()
        return code
    except CoveyError as error:
        print(f"covey: {table.printable(str(error))}", file=sys.stderr)
        wrong_usage = isinstance(error, InvalidInput | InvalidRequest | UnknownModel)
        return Exit.USAGE if wrong_usage else Exit.SERVER
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except RuntimeError as error:
        if "can't start new thread" not in str(error):
            raise
        print("covey: this process may start no more threads; raise the limit (ulimit -u)", file=sys.stderr)
        return Exit.USAGE
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        discard_output()
        return Exit.OK
    except OSError as error:
        if error.filename is not None:  # of a file, not of the standard output: this is a bug
            raise
        print(f"covey: the output cannot be written: {error.strerror}", file=sys.stderr)
        discard_output()
        return Exit.USAGE


def _flush() -> None:
    """Here, where an error can be told: Python's own flush at the end comes too late for that."""
    if sys.stdout is not None:
        sys.stdout.flush()


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    """argparse takes words on one side of an option only; those of `covey load` may stand on both."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if isinstance(getattr(options, "words", None), list) and not any(each.startswith("-") for each in rest):
        options.words += rest
    elif rest:
        options.parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return options


def _parser() -> argparse.ArgumentParser:
    from covey_load.cli import doctor, load, sizing  # here, as it imports modules of this package

    parser = Parser(
        prog="covey",
        description="Classify images on a Covey server, measure it, and make and serve models.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"covey {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in (classify, explain, models, info, *choose.COMMANDS, wait, label, load, doctor, sizing):
        added = commands.add_parser(
            command.NAME,
            help=command.SUMMARY,
            description=command.DESCRIPTION,
            epilog=_EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,  # --server would mean --server-name, and what is meant is --target
        )
        if command is not label:  # which asks no server
            connection.add_arguments(added)
        command.add_arguments(added)
        added.set_defaults(run=command.run, parser=added)
    for name, summary in forwarding.COMMANDS.items():  # which `main` runs before anything is parsed here
        commands.add_parser(name, help=summary)
    return parser
