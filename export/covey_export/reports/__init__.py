"""What is written beside a published model: report.html, MODEL_CARD.md and report.json, and two models compared."""

from __future__ import annotations

from covey_export.reports.comparison import compare
from covey_export.reports.version_folders import find_version_folder
from covey_export.reports.writing import write

__all__ = ["compare", "find_version_folder", "write"]
