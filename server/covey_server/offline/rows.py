"""The rows of a result: their columns, and how they are written as Parquet, CSV or JSON Lines."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from covey_server.errors import InvalidConfiguration
from covey_server.offline import errors
from covey_server.offline.answers import Answers, ClassifyOptions, Facts

Block = tuple[Sequence[str], Answers]
"""Keys, and the answers about their images."""


@dataclass(frozen=True)
class Layout:
    """The columns: key, label, index, probability, the same of the next best classes with the suffix _2 and so on,
    known if the model tells it, probabilities if asked for, error. A row has an error or the rest."""

    labels: tuple[str, ...]
    options: ClassifyOptions
    abstains: bool

    @classmethod
    def of(cls, facts: Facts, options: ClassifyOptions) -> Layout:
        return cls(facts.labels, options, facts.abstains)

    def columns(self, block: Block) -> dict[str, list[Any]]:
        """All columns but `probabilities`; None where a row has no value."""
        keys, answers = block
        failures = answers.failures
        columns: dict[str, list[Any]] = {"key": list(keys)}
        for rank in range(self.options.top_k):
            end = "" if rank == 0 else f"_{rank + 1}"
            classes = answers.classes[:, rank].tolist()
            for index in failures:
                classes[index] = -1
            probabilities = answers.probabilities[:, rank].tolist()
            columns[f"label{end}"] = [self.labels[class_index] if class_index >= 0 else None for class_index in classes]
            columns[f"index{end}"] = [class_index if class_index >= 0 else None for class_index in classes]
            columns[f"probability{end}"] = [
                value if class_index >= 0 else None for class_index, value in zip(classes, probabilities, strict=True)
            ]
        if answers.known is not None:
            known: list[bool | None] = answers.known.tolist()
            for index in failures:
                known[index] = None
            columns["known"] = known
        messages: list[str | None] = [None] * len(answers)
        for index, failure in failures.items():
            messages[index] = failure.message
        columns["error"] = messages
        return columns

    def distributions(self, block: Block) -> list[list[float] | None]:
        """The column `probabilities`."""
        answers = block[1]
        assert answers.distributions is not None
        rows: list[list[float]] = answers.distributions.tolist()
        return [None if index in answers.failures else row for index, row in enumerate(rows)]

    @property
    def names(self) -> list[str]:
        """The names of all columns, in order."""
        ends = ["" if rank == 0 else f"_{rank + 1}" for rank in range(self.options.top_k)]
        best = [f"{name}{end}" for end in ends for name in ("label", "index", "probability")]
        known_column = ["known"] if self.abstains else []
        return ["key", *best, *known_column, *(["probabilities"] if self.options.distribution else []), "error"]


class RowFormat(Protocol):
    """A file format for rows."""

    def write(self, blocks: Sequence[Block], file: IO[bytes], layout: Layout) -> None:
        """Writes a part."""

    def merge(self, parts: Sequence[Path], file: IO[bytes], layout: Layout, metadata: Mapping[str, Any]) -> None:
        """Writes the file of all parts; `metadata` goes into it if the format has a place for it."""


class Csv:
    def write(self, blocks: Sequence[Block], file: IO[bytes], layout: Layout) -> None:
        with _text(file) as text:
            writer = csv.writer(_Lines(text))
            for columns in _columns(blocks, layout):
                for name in columns.keys() & {"known", "probabilities"}:  # as JSON has them
                    columns[name] = [None if value is None else json.dumps(value) for value in columns[name]]
                writer.writerows(zip(*columns.values(), strict=True))

    def merge(self, parts: Sequence[Path], file: IO[bytes], layout: Layout, metadata: Mapping[str, Any]) -> None:
        with _text(file) as text:
            csv.writer(_Lines(text)).writerow(layout.names)
        _join(parts, file)


class _Lines:
    """Takes rows that end with \\r\\n, and ends them with \\n. A writer that ended them so itself would not quote a key
    with \\r in it, until Python 3.13, and most readers take that for the end of a row."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text

    def write(self, row: str) -> None:
        self._text.write(row.removesuffix("\r\n") + "\n")


class JsonLines:
    def write(self, blocks: Sequence[Block], file: IO[bytes], layout: Layout) -> None:
        with _text(file) as text:
            for columns in _columns(blocks, layout):
                for row in zip(*columns.values(), strict=True):
                    text.write(json.dumps(dict(zip(columns, row, strict=True))) + "\n")

    def merge(self, parts: Sequence[Path], file: IO[bytes], layout: Layout, metadata: Mapping[str, Any]) -> None:
        _join(parts, file)


def row_format_of(target: Path) -> RowFormat:
    """The format by the target's suffix. Raises InvalidConfiguration."""
    match target.suffix.lower():
        case ".csv":
            return Csv()
        case ".jsonl":
            return JsonLines()
        case ".parquet":
            try:
                from covey_server.offline.parquet_rows import ParquetRows
            except ModuleNotFoundError:
                raise errors.no_pyarrow(f"--to {target}") from None
            return ParquetRows()
    raise InvalidConfiguration(f"--to {target}: expected a file that ends with .parquet, .csv or .jsonl")


def _columns(blocks: Sequence[Block], layout: Layout) -> Iterator[dict[str, list[Any]]]:
    """All columns of each block, in order."""
    for block in blocks:
        columns = layout.columns(block)
        if layout.options.distribution:
            columns["probabilities"] = layout.distributions(block)
        yield {name: columns[name] for name in layout.names}


def _join(parts: Sequence[Path], file: IO[bytes]) -> None:
    for part in parts:
        with part.open("rb") as source:
            shutil.copyfileobj(source, file)


@contextmanager
def _text(file: IO[bytes]) -> Iterator[io.TextIOWrapper]:
    """A binary file opened as text; it stays open afterwards."""
    text = io.TextIOWrapper(file, "utf-8", newline="")
    try:
        yield text
    finally:
        text.detach()  # flushes
