"""The command `covey-export`, where its packages are installed; the package cli does the work."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one sub-command; answers the exit code (see cli.main, and 2 where the extra is missing)."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        if given[:1] == ["import"]:  # needs no torch
            from covey_export.importing import command_line

            return command_line.main(given[1:])
        from covey_export import cli
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("covey"):
            raise
        what, packages = ("imports need it", "'covey-serve[cpu]' onnx")
        if given[:1] != ["import"]:
            what, packages = ("training and conversion need their extra", "'covey-serve[cpu,export]'")
        print(
            f"covey-export: the package {error.name!r} is not installed; {what}: pip install {packages}",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:  # the imports take seconds; cli.main answers for what comes after them
        return 130
    return cli.main(given)


if __name__ == "__main__":
    sys.exit(main())
