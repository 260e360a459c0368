"""Owns what is kept of a failure: a file per suspect, with the request in full and the command that sends it again."""

from __future__ import annotations

import json
from pathlib import Path

from tests.fuzz.campaign import Finding
from tests.fuzz.case import Case

MAX_SUSPECTS = 20  # kept of one finding: a lost connection has as many as it had calls


def write_findings(folder: Path, front: str, seed: int, findings: list[Finding]) -> list[Path]:
    """Writes `FRONT-SEED-NUMBER.json` for each suspect; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for finding in findings:
        for case in finding.suspects[:MAX_SUSPECTS]:
            path = folder / f"{front}-{seed}-{case.number}.json"
            path.write_text(json.dumps(_described(front, seed, finding.what, case), indent=1) + "\n")
            written.append(path)
    return written


def _described(front: str, seed: int, what: str, case: Case) -> dict[str, object]:
    return {
        "what": what,
        "replay": f"python -m tests.fuzz --front {front} --seed {seed} --only {case.number}",
        "kind": case.kind,
        "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in case.headers],
        "body_hex": case.body.hex(),
    }
