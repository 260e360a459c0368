"""A run of the benchmark as its scenarios see it: how long to measure, which models there are, where files go."""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.models import Models
from bench.processes import Server, covey_server

RESULTS = Path(__file__).parent / "results"


def add_arguments(parser: argparse.ArgumentParser, models: str, default: str) -> None:
    """The options that all benches have: which models, and where the results go."""
    parser.add_argument("--models", type=Path, help=f"folder with {models}/1/model.onnx; default: exports {default}")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write to; default: bench/results")


@dataclass(frozen=True)
class Run:
    """Handed to each scenario. `seconds` is the length of one load; `report` is told what is going on."""

    models: Models
    results: Path  # kept
    scratch: Path  # gone after the run
    rounds: int
    seconds: float
    report: Callable[[str], None]
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def folder(self) -> Path:
        """A new folder below `scratch`."""
        path = self.scratch / str(next(self._numbers))
        path.mkdir()
        return path

    def server(
        self, models: Sequence[str], front: str = "native", flags: Sequence[str] = ()
    ) -> AbstractContextManager[Server]:
        """A server of these models alone, from copies of their files."""
        folder = self.models.copy(models, self.folder())
        return self.server_of(folder, front, flags)

    def server_of(
        self,
        folder: Path,
        front: str = "native",
        flags: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> AbstractContextManager[Server]:
        """A server of a models folder. Its log is kept among the results."""
        logs = self.results / "logs"
        logs.mkdir(exist_ok=True)
        return covey_server(folder, front, logs / f"{folder.name}-{front}.log", flags, environment)

    def each_round(self, scenario: str) -> Iterator[int]:
        """The numbers of the rounds, reported as they begin."""
        for number in range(self.rounds):
            self.report(f"{scenario}: round {number + 1} of {self.rounds}")
            yield number


@contextmanager
def started(options: argparse.Namespace, rounds: int, seconds: float, report: Callable[[str], None]) -> Iterator[Run]:
    """A run with these options, while its scratch folder is there."""
    results: Path = options.results.resolve()
    results.mkdir(parents=True, exist_ok=True)
    folder = options.models.resolve() if options.models else results / "models"
    models = Models(folder, None if options.models else results, report)
    with tempfile.TemporaryDirectory(prefix="covey-bench-") as scratch:
        yield Run(models, results, Path(scratch), rounds, seconds, report)
