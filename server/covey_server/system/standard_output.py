"""Prints to standard output, and survives a full disk or a closed pipe behind it."""

from __future__ import annotations

import sys
from collections.abc import Callable

from covey_proto import program
from covey_proto.command_line import OUTPUT_LOST, discard_output


def write(work: Callable[[], int | None]) -> int:
    """Runs `work`, which prints. Returns its exit code; 0 if the reader has gone, as `head` does; 2, with a message, if
    the output cannot be written."""
    try:
        code = work() or 0
        if sys.stdout is not None:  # None if it is closed: >&-
            sys.stdout.flush()
    except BrokenPipeError:
        code = 0
    except OSError as error:
        if error.filename is not None:  # of a file, not of standard output: a bug
            raise
        program.print_error(f"the output cannot be written: {error.strerror}", program.SERVER)
        code = OUTPUT_LOST
    else:
        return code
    discard_output()
    return code
