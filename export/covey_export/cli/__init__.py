"""The command line `covey-export`: arguments in, exit code out.

parser.py knows the options, commands.py what each sub-command does with them; the steps are export_job.py's.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from covey_export.cli.parser import build
from covey_export.errors import ExportError
from covey_proto import program, variables
from covey_proto.command_line import discard_output
from covey_server.config import VARIABLES

_INTERRUPTED = 130  # what a shell reports for a process ended by SIGINT


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one sub-command. 0: done, 2: an error that was explained, 130: stopped by Ctrl-C. Raises ModuleNotFoundError
    where a package of the extra `export` is missing."""
    try:
        options = build().parse_args(arguments)
    except SystemExit as ended:  # of --help, --version and wrong usage
        try:
            sys.stdout.flush()
        except OSError as error:
            return _output_lost(error)
        raise ended from None
    from covey_export.cli import commands  # here, so that help and wrong usage need no torch, nor wait for it
    from covey_export.reports.progress import ProgressReport
    from covey_export.training import distributed

    report = ProgressReport() if distributed.is_first_process() else ProgressReport.silent()
    if not (options.trains or distributed.is_first_process()):
        return 0  # of torchrun's processes the first alone publishes
    if distributed.is_first_process():
        variables.print_unknown(VARIABLES, program.EXPORT)
    try:
        with report.alive():
            commands.COMMANDS[options.command](options, report)
        sys.stdout.flush()  # here, where it can still be said that it cannot be written
    except ExportError as error:
        return _fail(str(error), error.exit_code)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        _forget_output()
        return 0
    except OSError as error:
        if error.filename is not None:
            return _fail(str(error), ExportError.exit_code)
        return _output_lost(error)
    except RuntimeError as error:
        if "can't start new thread" not in str(error):
            raise
        return _fail("this process may start no more threads; raise the limit (ulimit -u)", ExportError.exit_code)
    except KeyboardInterrupt:
        return _fail("stopped by Ctrl-C; nothing half-made was left behind", _INTERRUPTED)
    return 0


def _output_lost(error: OSError) -> int:
    """Also of a file that was open already: its errors look the same."""
    _forget_output()
    return _fail(f"the output, or a file, cannot be written: {error.strerror or error}", ExportError.exit_code)


def _forget_output() -> None:
    """What cannot be written goes nowhere: else Python's last flush would complain."""
    try:
        sys.stdout.flush()
    except OSError:
        discard_output()


def _fail(message: str, exit_code: int) -> int:
    from covey_export.training import distributed

    if distributed.is_first_on_this_machine():  # the others of torchrun's processes would say the same
        program.print_error(message, program.EXPORT)
    return exit_code
