"""`make mutate`: puts small faults into a copy of the tree, one at a time, and looks whether the nearest tests notice.

    python -m tests.mutation [--count N] [--seed N] [--skip N] [--whole] [MODULE...]

A MODULE is a file or folder of the server or of export; without one those that a wrong answer could hide in. Only the
tests that run a fault's lines meet it; with `--whole` one that the nearest of them do not notice meets all of its
package's. It can be interrupted at any time, and goes on with `--skip N` where N faults were tried.
Exit code 1 where faults were not noticed: each of them is equivalent, does not matter, or wants a test.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.mutation.faults import Fault, faults
from tests.mutation.tree import ROOT, NearestTests, Tree

_SERVER, _EXPORT = Path("server/covey_server"), Path("export/covey_export")
MODULES = [
    *(_SERVER / name for name in ("batching", "fronts", "protocols/pipeline.py", "inference/golden.py")),
    *(_EXPORT / name for name in ("verification.py", "checkpoint.py")),
]
_NEAREST = {  # of export's tests, which stand in one folder and take long together
    "verification": ("verification", "quantization"),
    "checkpoint": ("resuming", "publication", "training", "weights"),
}


def nearest_tests(module: Path) -> list[str]:
    """The test files next to a module, those first that are named like it: most faults are noticed there."""
    package = Path("tests", module.parts[0])
    if module.is_relative_to(_EXPORT):
        places = [package / f"test_export_{name}.py" for name in _NEAREST.get(module.stem, ())] or [package]
    else:
        wing, *rest = module.relative_to(_SERVER).parts
        places = [place for name in (wing, *rest) if (place := package / name).is_dir()] or [package]
    found = [file for place in places for file in ([place] if place.suffix else sorted(place.rglob("test_*.py")))]
    words = set(module.with_suffix("").parts)
    words |= {word for part in words for word in part.split("_")}
    return [
        str(file) for file in sorted(found, key=lambda file: -len(words & {file.parent.name, *file.stem.split("_")}))
    ]


def _all_faults(modules: Iterable[Path]) -> list[Fault]:
    found = [path for module in modules for path in ([module] if module.suffix else sorted(module.rglob("*.py")))]
    return [fault for path in found for fault in faults(path)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Tries the faults; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("modules", type=Path, nargs="*", metavar="MODULE", default=MODULES)
    parser.add_argument("--count", type=int, default=100, help="faults, chosen at random (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="another one chooses others (default: %(default)s)")
    parser.add_argument("--skip", type=int, default=0, help="faults that an interrupted run has tried already")
    parser.add_argument(
        "--whole", action="store_true", help="what the nearest tests let pass meets all of the package's"
    )
    options = parser.parse_args(arguments)
    os.chdir(ROOT)
    known = _all_faults(options.modules)
    chosen = random.Random(options.seed).sample(known, min(options.count, len(known)))
    chosen.sort(key=lambda fault: (fault.path, fault.start))
    chosen = chosen[options.skip :]
    missed: list[Fault] = []
    tried = 0
    known_tests: dict[frozenset[str], NearestTests] = {}
    with tempfile.TemporaryDirectory(prefix="covey-mutation-") as folder:
        tree = Tree(Path(folder))
        try:
            for fault in chosen:
                is_noticed = False
                for files in [nearest_tests(fault.path), *[[f"tests/{fault.path.parts[0]}"]] * options.whole]:
                    tests = known_tests.get(frozenset(files))
                    if tests is None:
                        print(f"{len(files)} files or folders, {files[0]} first: without a fault", flush=True)
                        tests = known_tests[frozenset(files)] = NearestTests(tree, files)
                    if not tests.pass_without_fault:
                        print(tree.output.read_text(errors="replace"))
                        print(f"they fail without any fault; nothing can be said of {fault.path}")
                        return 2
                    if is_noticed := tests.notice(fault, files):
                        break
                tried += 1
                missed += [] if is_noticed else [fault]
                result = f"noticed by {tree.failed_test()}" if is_noticed else "NOT NOTICED"
                print(f"{options.skip + tried} of {options.count}, {result}: {fault}", flush=True)
        except KeyboardInterrupt:
            print("interrupted")
    print(f"\n{tried - len(missed)} of {tried} faults were noticed (seed {options.seed}, {len(known):,} are known)")
    for fault in missed:
        print(f"not noticed: {fault}")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
