"""A copy of the working tree to put faults into, and which of its tests run which lines."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from coverage import CoverageData
from tests.mutation.faults import Fault

ROOT = Path(__file__).parents[2]
_PROGRESS_S = 10.0
_FACTOR, _GRACE_S = 5.0, 60.0  # of the time that tests take without a fault, before they count as hanging


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
        self.environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}

    def passes(self, tests: Sequence[str], timeout_s: float, say: str, options: Sequence[str] = ()) -> bool:
        """Whether these tests pass in time; a line every 10 s says that they still run."""
        arguments = self.folder / "tests.txt"  # more of them than a command line may be long
        arguments.write_text("\n".join(tests))
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *options, f"@{arguments}"]
        with self.output.open("wb") as output:
            process = subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True,
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

    def failed_test(self) -> str:
        """The test that failed in the last run, "a timeout" where none says so."""
        lines = self.output.read_text(errors="replace").splitlines()
        failed = (line.split()[1] for line in lines if line.startswith(("FAILED ", "ERROR ")))
        return next(failed, "a timeout")


class NearestTests:
    """Test files or folders of a tree, run once without a fault: how long they take and which lines each test runs."""

    def __init__(self, tree: Tree, files: Sequence[str]) -> None:
        self._tree = tree
        self._coverage = CoverageData(str(tree.folder / f".coverage-{abs(hash(tuple(files)))}"))
        options = ["--numprocesses", "2", "--dist", "loadfile", "--cov", "--cov-context=test", "--cov-report="]
        began_s = time.monotonic()
        tree.environment["COVERAGE_FILE"] = self._coverage.data_filename()
        self.pass_without_fault = tree.passes(files, 3600.0, "still without a fault", options)
        self._timeout_s = _FACTOR * (time.monotonic() - began_s) + _GRACE_S
        self._coverage.read()

    def reaching(self, fault: Fault, files: Sequence[str]) -> list[str]:
        """The tests that run the fault's lines in their own process, in the order of these files.

        All files where none does, or where the lines run at import.
        """
        contexts = self._coverage.contexts_by_lineno(str(self._tree.folder / fault.path))
        lines = range(fault.line, fault.line + fault.was.count("\n") + 1)
        found = {context for line in lines for context in contexts.get(line, ())}
        if not found:  # a line inside a statement counts as the statement's first one
            above = max((line for line in contexts if line < fault.line), default=0)
            found = set(contexts.get(above, ()))
        tests = {context.rpartition("|")[0] for context in found}
        if not tests or "" in tests:
            return list(files)
        order = {file: place for place, file in enumerate(files)}
        return sorted(tests, key=lambda test: (order.get(test.partition("::")[0], 0), test))

    def notice(self, fault: Fault, files: Sequence[str]) -> bool:
        """Whether a test that reaches the fault fails with it, or hangs; those of the first files come first."""
        tests = self.reaching(fault, files)
        options = ["--numprocesses", "2", "--dist", "loadfile"] if tests == list(files) else ["--numprocesses", "0"]
        options += ["--timeout", "60", "--timeout-method", "thread"]  # of each test; the thread ends the whole process
        place = self._tree.folder / fault.path
        source = place.read_bytes()
        place.write_bytes(source[: fault.start] + fault.becomes.encode() + source[fault.stop :])
        try:
            return not self._tree.passes(tests, self._timeout_s, f"{len(tests)} tests or files: {fault}", options)
        finally:
            place.write_bytes(source)
