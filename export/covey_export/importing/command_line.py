"""`covey import` without the rest of `covey-export`, which needs torch: arguments in, exit code out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager

from covey_export.errors import ExportError
from covey_export.heartbeat import EVERY_S, Heartbeat
from covey_export.importing import options
from covey_proto import program, variables
from covey_proto.command_line import Parser, discard_output
from covey_server.config import VARIABLES

_INTERRUPTED = 130  # what a shell reports for a process ended by SIGINT


class PlainReport:
    """Prints lines to standard output, at least one every ten seconds."""

    def __init__(self, every_s: float = EVERY_S) -> None:
        self.heartbeat = Heartbeat(self.line, every_s)

    def line(self, text: str = "") -> None:
        """Prints one line as it is."""
        self.heartbeat.said()
        print(text, flush=True)

    def doing(self, what: str) -> AbstractContextManager[None]:
        """Names, while it is entered, work that may take long."""
        return self.heartbeat.doing(what)

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Prints columns as wide as their longest cell, numbers to the right."""
        self.line(title)
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        for row in (header, *rows):
            cells = [
                cell.rjust(width) if 0 < column_index < len(row) - 1 else cell.ljust(width)
                for column_index, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            self.line("  " + "  ".join(cells).rstrip())


def main(arguments: Sequence[str]) -> int:
    """Runs the command. `arguments` are those behind `import`. Returns 0: done, 2: an error that was explained, 130:
    stopped by Ctrl-C."""
    prog = program.words(program.EXPORT)
    if not any(word.startswith(options.FIRST_LOOK) for word in arguments):
        prog += f" {options.NAME}"
    parser = Parser(prog=prog, description=options.TEXT, allow_abbrev=False)
    options.add_to(parser)
    parsed = parser.parse_args(arguments)
    try:
        from covey_export.importing import command  # here, so that help and wrong usage need no onnx
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("covey"):
            raise
        what, packages = "the import of an ONNX file needs", "'covey-serve[cpu]' onnx"
        if parsed.source.suffix.lower() != ".onnx":  # onnx alone would not be enough
            what, packages = "the import of a network of PyTorch's needs", "'covey-serve[cpu,export]'"
        missing = "" if parsed.source.exists() else f"{parsed.source} does not exist. Besides, "
        return _fail(f"{missing}the package {error.name!r} is not installed; {what} it: pip install {packages}", 2)

    if parsed.first_look is None:  # else the server says so
        variables.print_unknown(VARIABLES, program.EXPORT)
    report = PlainReport()
    try:
        with report.heartbeat.beating():
            command.run(parsed, report)
        sys.stdout.flush()
    except ExportError as error:
        return _fail(str(error), error.exit_code)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        discard_output()
        return 0
    except OSError as error:
        if error.filename is not None:
            return _fail(str(error), ExportError.exit_code)
        discard_output()
        return _fail(f"the output, or a file, cannot be written: {error.strerror or error}", ExportError.exit_code)
    except KeyboardInterrupt:
        return _fail("stopped by Ctrl-C; nothing half-made was left behind", _INTERRUPTED)
    return 0


def _fail(message: str, exit_code: int) -> int:
    program.print_error(message, program.EXPORT)
    return exit_code
