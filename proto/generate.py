"""Generates the Python code of every .proto below proto/, or with --check says whether it is up to date.

The generator is pinned (grpcio-tools in the `dev` extra), so that its output depends on the .proto alone.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent
WELL_KNOWN = Path(grpc_tools.__file__).parent / "_proto"


def generate(target: Path) -> list[Path]:
    """Writes the code of all contracts below `target`; answers the relative paths of what it wrote."""
    sources = sorted(str(path.relative_to(ROOT)) for path in ROOT.rglob("*.proto"))
    arguments = [f"-I{ROOT}", f"-I{WELL_KNOWN}"]
    arguments += [f"--{kind}_out={target}" for kind in ("python", "pyi", "grpc_python")]
    if protoc.main(["protoc", *arguments, *sources]) != 0:
        raise SystemExit("protoc failed; its message stands above")
    return sorted(path.relative_to(target) for path in target.rglob("*_pb2*.py*") if path.suffix != ".pyc")


def stale_files() -> list[Path]:
    """The generated files that are missing or differ from what the contracts give now."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        return [
            path
            for path in generate(fresh)
            if not (ROOT / path).is_file() or (ROOT / path).read_bytes() != (fresh / path).read_bytes()
        ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where the code is stale")
    if not parser.parse_args().check:
        for path in generate(ROOT):
            print(f"wrote proto/{path}")
        return 0
    stale = stale_files()
    for path in stale:
        print(f"stale: proto/{path} (run `make proto` and commit it)", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
