"""The command `covey-export`, where its packages are installed; the package cli does the work."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one sub-command; answers the exit code (see cli.main, and 2 where the extra is missing)."""
    try:
        from covey_export import cli
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("covey"):
            raise
        print(
            f"covey-export: the package {error.name!r} is not installed; training and conversion need their extra: "
            f"pip install 'covey-serve[cpu,export]'",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:  # the imports take seconds; cli.main answers for what comes after them
        return 130
    return cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
