"""Builds the distributions of the last commit, as `make dist` does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from bench.processes import ROOT


def build(folder: Path, *, mask: int = 0o022, zone: str = "UTC") -> Mapping[str, Path]:
    """Builds into a folder, with a user's file mode and time zone: the files by their endings, .whl and .tar.gz."""
    source, out = folder / "source", folder / "dist"
    source.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True).stdout
    epoch = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=True)
    before = os.umask(mask)
    try:
        subprocess.run(["tar", "-x", "-m"], input=archive, cwd=source, check=True)  # -m: files of this moment
        command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
        environment = os.environ | {"SOURCE_DATE_EPOCH": epoch.stdout.strip(), "TZ": zone}
        subprocess.run(command, env=environment, capture_output=True, check=True)
    finally:
        os.umask(before)
    return {"".join(path.suffixes[-2:]) if path.name.endswith(".gz") else path.suffix: path for path in out.iterdir()}
