"""What is printed on standard output, and a full disk or a closed pipe behind it."""

from __future__ import annotations

import sys
from collections.abc import Callable

from covey_proto.command_line import OUTPUT_LOST, discard_output


def write(work: Callable[[], int | None]) -> int:
    """Runs `work`, which prints. Answers its exit code; 0 where the reader has gone, as `head` does; 2, and says so,
    where the output cannot be written."""
    try:
        code = work() or 0
        if sys.stdout is not None:  # as where it is closed: >&-
            sys.stdout.flush()
    except BrokenPipeError:
        code = 0
    except OSError as error:
        if error.filename is not None:  # of a file, not of the standard output: this is a bug
            raise
        print(f"covey-server: the output cannot be written: {error.strerror}", file=sys.stderr)
        code = OUTPUT_LOST
    else:
        return code
    discard_output()
    return code
