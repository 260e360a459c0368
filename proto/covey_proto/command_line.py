"""The parser of the commands' options: argparse's, but that errors of the output are not passed over."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

_UNWRITTEN = 2  # exit code


class Parser(argparse.ArgumentParser):
    """Says where help cannot be written (a full disk), with exit code 2; a reader that has gone is no error."""

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        target = file or sys.stderr
        if not message or target is None:
            return
        try:
            target.write(message)
            if target is sys.stdout:
                target.flush()
            return
        except BrokenPipeError:
            code = 0
        except OSError as error:
            print(f"{self.prog}: the output cannot be written: {error.strerror}", file=sys.stderr)
            code = _UNWRITTEN
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python's last flush complains
        raise SystemExit(code)
