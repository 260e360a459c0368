"""What a panel and a dashboard are, as few words as they need, and the JSON that Grafana takes for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

DATASOURCE = {"type": "prometheus", "uid": "prometheus"}  # as provisioning/datasources names it
_COLUMNS = 24


@dataclass(frozen=True)
class Panel:
    """`queries` are PromQL by the legend that their series get; `description` is shown behind the panel's (i).

    `kind` and `unit` are Grafana's names. `width` is in 24ths of the page.
    """

    title: str
    description: str
    unit: str
    queries: dict[str, str]
    kind: str = "timeseries"
    width: int = 8
    height: int = 8
    stacked: bool = False

    def as_json(self, number: int, column: int, row: int) -> dict[str, Any]:
        instant = self.kind != "timeseries"
        custom = {"fillOpacity": 30, "stacking": {"mode": "normal"}} if self.stacked else {"fillOpacity": 5}
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": DATASOURCE,
            "gridPos": {"h": self.height, "w": self.width, "x": column, "y": row},
            "fieldConfig": {"defaults": {"unit": self.unit, "custom": {} if instant else custom}, "overrides": []},
            "targets": [
                {
                    "refId": chr(ord("A") + place),
                    "datasource": DATASOURCE,
                    "expr": query,
                    "legendFormat": legend,
                    "instant": instant,
                    "range": not instant,
                    "format": "table" if self.kind == "table" else "time_series",
                }
                for place, (legend, query) in enumerate(self.queries.items())
            ],
        }


@dataclass(frozen=True)
class Dashboard:
    """`uid` is the file's name and part of its address. Panels fill rows from the left."""

    uid: str
    title: str
    panels: Sequence[Panel]

    def as_json(self) -> dict[str, Any]:
        return {
            "uid": f"covey-{self.uid}",
            "title": self.title,
            "tags": ["covey"],
            "schemaVersion": 39,
            "editable": True,
            "refresh": "10s",
            "time": {"from": "now-30m", "to": "now"},
            "templating": {"list": [_choice_of_models()]},
            "panels": self._placed(),
        }

    def _placed(self) -> list[dict[str, Any]]:
        placed, column, row, height = [], 0, 0, 0
        for number, panel in enumerate(self.panels, 1):
            if column + panel.width > _COLUMNS:
                column, row, height = 0, row + height, 0
            placed.append(panel.as_json(number, column, row))
            column += panel.width
            height = max(height, panel.height)
        return placed


def _choice_of_models() -> dict[str, Any]:
    """The variable $model, which queries use as {model=~"$model"}."""
    return {
        "name": "model",
        "label": "Model",
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": "label_values(covey_model_served, model)", "refId": "models"},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }
