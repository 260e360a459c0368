"""What all commands share: a parser of options, and what to do where standard output cannot be written."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

OUTPUT_LOST = 2  # exit code
_USAGE_LINES_LIMIT = 3  # a longer usage hides the error below it
_CUTOFF = 0.7
UNKNOWN = "unrecognized arguments: "  # argparse's


class Parser(argparse.ArgumentParser):
    """argparse's, which ignores a full disk behind --help. This one says so and exits with OUTPUT_LOST; a reader that
    has closed its pipe is no error. Of a misspelled option it names the nearest."""

    def error(self, message: str) -> NoReturn:
        usage = self.format_usage()
        if usage.count("\n") > _USAGE_LINES_LIMIT:
            usage = ""
        near = self.nearest(message.removeprefix(UNKNOWN)) if message.startswith(UNKNOWN) else ""
        hint = f". Did you mean {near}?" if near else ""
        command = f"{self.prog} COMMAND" if self._subparsers is not None else self.prog
        self.exit(2, f"{usage}{self.prog}: error: {message}{hint}\nAll options: {command} --help\n")

    def nearest(self, arguments: str, cutoff: float = _CUTOFF) -> str:
        """The option that the first misspelled one of `arguments` probably means; empty where none is as much like it
        as `cutoff`, 0 to 1."""
        said = next((word.partition("=")[0] for word in arguments.split() if word.startswith("--")), "")
        return next(iter(difflib.get_close_matches(said, sorted(self._known()), n=1, cutoff=cutoff)), "")

    def _known(self) -> set[str]:
        """The options of this parser and of its commands."""
        known = {name for name in self._option_string_actions if name.startswith("--")}
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                known.update(*(parser._known() for parser in action.choices.values() if isinstance(parser, Parser)))
        return known

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
