"""Writes the dashboards as Grafana takes them: `python -m deploy.grafana.generate`."""

from __future__ import annotations

import json
from pathlib import Path

from deploy.grafana.content import DASHBOARDS

FOLDER = Path(__file__).parent / "dashboards"


def texts() -> dict[Path, str]:
    """The JSON of each dashboard by its file."""
    return {
        FOLDER / f"{dashboard.uid}.json": json.dumps(dashboard.as_json(), indent=1) + "\n" for dashboard in DASHBOARDS
    }


if __name__ == "__main__":
    for path, text in texts().items():
        path.write_text(text)
        print(f"wrote {path.name}")
