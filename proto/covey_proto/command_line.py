"""What all commands share: a parser of options, and what to do where standard output cannot be written."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

OUTPUT_LOST = 2  # exit code


class Parser(argparse.ArgumentParser):
    """argparse's, which ignores a full disk behind --help. This one says so and exits with OUTPUT_LOST; a reader that
    has closed its pipe is no error."""

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        target = file or sys.stderr
        if not message or target is None:
            return
        try:
            target.write(message)
            if file is not sys.stderr and sys.stdout is not None:
                sys.stdout.flush()
        except BrokenPipeError:
            discard_output()
            raise SystemExit(0) from None
        except OSError as error:
            discard_output()
            command = self.prog.partition(" ")[0]
            print(f"{command}: the output cannot be written: {error.strerror}", file=sys.stderr)
            raise SystemExit(OUTPUT_LOST) from None


def discard_output() -> None:
    """Sends what is left of standard output nowhere: else Python's last flush would complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
