"""The `covey` command: its arguments, its exit codes, and errors in one line. Each command has a file of its own."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

from covey.cli import forwarding, parser, table
from covey.cli.exits import Exit
from covey.errors import CoveyError, InvalidInput, InvalidRequest, UnknownModel
from covey_proto import program, variables
from covey_proto.command_line import discard_output


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command, of the command line unless `arguments` are given, and returns its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names and labels may have letters that it has not
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given[:1] == ["help"]:  # covey help COMMAND
        given = [*given[1:2], "--help"]
    if given[:1] and given[0] in forwarding.COMMANDS:
        return forwarding.run(given)
    try:
        options = _parse(given)
        _warn_of_variables()
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


def _warn_of_variables() -> None:
    """Those of clients are known here; the server's, where there may be one of them."""
    if variables.unknown(os.environ, ()):
        from covey_server.config import VARIABLES

        variables.print_unknown(VARIABLES, program.COVEY)


def _flush() -> None:
    """Here, where an error can be told: Python's own flush at the end comes too late for that."""
    if sys.stdout is not None:
        sys.stdout.flush()


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    """argparse takes words on one side of an option only; those of `covey load` may stand on both."""
    commands = parser.build()
    if arguments and not arguments[0].startswith("-"):
        commands.require_known(arguments[0])
    options, rest = commands.parse_known_args(arguments)
    if isinstance(getattr(options, "words", None), list) and not any(each.startswith("-") for each in rest):
        options.words += rest
    elif rest:
        options.parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return options
