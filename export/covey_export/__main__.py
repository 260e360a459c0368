"""The command `covey-export`, where its packages are installed; the package cli does the work. `covey import`, `covey
train` and so on are its sub-commands, too."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from covey_proto import program

_FIRST_LOOK = "--first-look="  # of the import that `covey serve FILE` runs: what the user typed, which is no import


def main(arguments: Sequence[str] | None = None, called_as: str = program.EXPORT) -> int:
    """Runs one sub-command; answers the exit code (see cli.main, and 2 where a package is missing). `called_as`: what
    the user typed before the arguments."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    by_server = next((word.removeprefix(_FIRST_LOOK) for word in given if word.startswith(_FIRST_LOOK)), "")
    with program.called(by_server or called_as):
        try:
            if given[:1] == ["import"]:  # needs no torch
                from covey_export.importing import command_line

                return command_line.main(given[1:])
            from covey_export import cli

            return cli.main(given)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("covey"):
                raise
            program.print_error(
                f"the package {error.name!r} is not installed; training and conversion need their extra: "
                f"pip install 'covey-serve[cpu,export]'",
                program.EXPORT,
            )
            return 2
        except KeyboardInterrupt:  # imports take seconds; cli.main answers for what comes after them
            return 130


if __name__ == "__main__":
    sys.exit(main())
