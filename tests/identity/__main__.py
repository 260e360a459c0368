"""`python -m tests.identity`: whether every caller gets its own rows, and only the guilty fail, for 30 s on each front.

    python -m tests.identity [--front native|grpcio] [--processes N] [--seconds N] [--seed N]

Exit code 1 where an answer was wrong or lost, or an innocent request failed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.identity.campaign import campaign


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the campaign on each front asked for; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.identity", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--front", choices=("native", "grpcio"), help="default: one after the other")
    parser.add_argument("--seconds", type=float, default=30.0, help="on each front (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=1, help="of the server (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="another one makes other requests (default: %(default)s)")
    options = parser.parse_args(arguments)
    faults = 0
    for front in [options.front] if options.front else ["native", "grpcio"]:
        with tempfile.TemporaryDirectory(prefix="covey-identity-") as folder:
            score, reloads = campaign(Path(folder), front, options.seconds, options.seed, options.processes)
        faults += score.faults
        outcomes = ", ".join(f"{name} {count:,}" for name, count in sorted(score.outcomes.items()))
        print(f"{front}: {score.images:,} images answered over {reloads} reloads ({outcomes})")
        print(f"  {score.shared:,} requests were answered from a batch with images of others")
        print(
            f"  {score.wrong} wrong, {score.lost} lost, {score.innocent.total()} innocent failures",
            dict(score.innocent),
        )
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
