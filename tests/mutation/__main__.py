"""`make mutate`: puts small faults into a copy of the tree, one at a time, and looks whether the nearest tests notice.

    python -m tests.mutation [--count N] [--seed N] [--whole] [MODULE...]

A MODULE is a file or folder of the server or of export; without one those that a wrong answer could hide in. With
`--whole` a fault that the nearest tests do not notice meets all of its package's. It can be interrupted at any time.
Exit code 1 where faults were not noticed: each of them is equivalent, does not matter, or wants a test.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.mutation.faults import Fault, faults

ROOT = Path(__file__).parents[2]
_SERVER, _EXPORT = Path("server/covey_server"), Path("export/covey_export")
MODULES = [
    *(_SERVER / name for name in ("batching", "fronts", "protocols/pipeline.py", "inference/golden.py")),
    *(_EXPORT / name for name in ("verification.py", "checkpoint.py")),
]
_NEAREST = {  # of export's tests, which stand in one folder and take long together
    "verification": ("verification", "quantization"),
    "checkpoint": ("resuming", "publication", "training", "weights"),
}
_PROGRESS_S = 10.0
_FACTOR, _GRACE_S = 5.0, 60.0  # of the time that the tests take without a fault, before they count as hanging


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


class Tree:
    """A copy of the working tree, in which tests run and import what lies there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder / "pytest.log"  # of the tests that ran last
        files = subprocess.check_output(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, text=True)
        for name in filter(None, files.split("\0")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_file():
                shutil.copyfile(ROOT / name, folder / name)
        paths = [str(folder / name) for name in ("proto", "export", "server", "clients", ".")]
        self._environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}

    def passes(self, tests: Sequence[str], timeout_s: float, say: str = "") -> bool:
        """Whether these tests pass in time; a line every 10 s says that they still run."""
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--numprocesses", "2"]
        with self.output.open("wb") as output:
            process = subprocess.Popen(
                [*command, "--dist", "loadfile", *tests], cwd=self.folder, env=self._environment,
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        began_s = time.monotonic()
        try:
            while (ran_s := time.monotonic() - began_s) < timeout_s:
                try:
                    return process.wait(min(_PROGRESS_S, timeout_s - ran_s)) == 0
                except subprocess.TimeoutExpired:
                    print(f"  {time.monotonic() - began_s:.0f} s: {say}", flush=True)
            return False
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def notices(self, fault: Fault, tests: Sequence[str], timeout_s: float, say: str) -> bool:
        """Whether a test fails, or hangs, with the fault."""
        place = self.folder / fault.path
        source = place.read_bytes()
        place.write_bytes(source[: fault.start] + fault.becomes.encode() + source[fault.stop :])
        try:
            return not self.passes(tests, timeout_s, say)
        finally:
            place.write_bytes(source)


def _all_faults(modules: Iterable[Path]) -> list[Fault]:
    found = [path for module in modules for path in ([module] if module.suffix else sorted(module.rglob("*.py")))]
    return [fault for path in found for fault in faults(path)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Tries the faults; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("modules", type=Path, nargs="*", metavar="MODULE", default=MODULES)
    parser.add_argument("--count", type=int, default=100, help="faults, chosen at random (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="another one chooses others (default: %(default)s)")
    parser.add_argument(
        "--whole", action="store_true", help="what the nearest tests let pass meets all of the package's"
    )
    options = parser.parse_args(arguments)
    os.chdir(ROOT)
    known = _all_faults(options.modules)
    chosen = random.Random(options.seed).sample(known, min(options.count, len(known)))
    chosen.sort(key=lambda fault: (fault.path, fault.start))
    missed: list[Fault] = []
    tried = 0
    takes_s: dict[frozenset[str], float] = {}
    with tempfile.TemporaryDirectory(prefix="covey-mutation-") as folder:
        tree = Tree(Path(folder))
        try:
            for fault in chosen:
                for tests in [nearest_tests(fault.path), *[[f"tests/{fault.path.parts[0]}"]] * options.whole]:
                    key, began_s = frozenset(tests), time.monotonic()
                    if key not in takes_s:
                        where = os.path.commonpath([Path(test).parent for test in tests])
                        print(f"{len(tests)} files in {where}: without a fault", flush=True)
                        if not tree.passes(tests, 3600.0, "still without a fault"):
                            print(tree.output.read_text(errors="replace"))
                            print(f"they fail without any fault; nothing can be said of {fault.path}")
                            return 2
                        takes_s[key] = time.monotonic() - began_s
                    is_noticed = tree.notices(fault, tests, _FACTOR * takes_s[key] + _GRACE_S, str(fault))
                    if is_noticed:
                        break
                tried += 1
                missed += [] if is_noticed else [fault]
                print(f"{tried} of {len(chosen)}, {'noticed' if is_noticed else 'NOT NOTICED'}: {fault}", flush=True)
        except KeyboardInterrupt:
            print("interrupted")
    print(f"\n{tried - len(missed)} of {tried} faults were noticed (seed {options.seed}, {len(known):,} are known)")
    for fault in missed:
        print(f"not noticed: {fault}")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
