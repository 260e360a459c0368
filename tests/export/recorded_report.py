"""What several tests of `export` use: a report that can be read, and what a folder holds."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from rich.console import Console

from covey_export.reports.progress import ProgressReport

CPU = torch.device("cpu")


class RecordedReport(ProgressReport):
    """A report that keeps what it was told."""

    def __init__(self) -> None:
        self._file = io.StringIO()
        super().__init__(Console(file=self._file))

    @property
    def text(self) -> str:
        return self._file.getvalue()


def tree(folder: Path) -> set[str]:
    """All that is below a folder, hidden files too."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}
