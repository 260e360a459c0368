"""The committed dashboards are those that deploy/grafana makes, and they and the rules know only documented metrics.
What their queries give is test_monitoring's."""

from __future__ import annotations

import json
import re

from deploy.grafana import generate
from tests.deploy.compose import ROOT

_SUFFIXES = r"(_bucket|_sum|_count)$"


def documented() -> set[str]:
    """The metrics of docs/metrics.md."""
    return set(re.findall(r"^\| `(covey_\w+)` \|", (ROOT / "docs" / "metrics.md").read_text(), flags=re.MULTILINE))


def used(text: str) -> set[str]:
    """The metrics of Covey's that a text asks for."""
    return {re.sub(_SUFFIXES, "", name) for name in re.findall(r"\bcovey_\w+", text)}


def test_the_dashboards_are_those_of_the_generator() -> None:
    stale = [path.name for path, text in generate.texts().items() if not path.exists() or path.read_text() != text]
    assert stale == [], "run: python -m deploy.grafana.generate"


def test_every_metric_asked_for_is_documented() -> None:
    dashboards = "".join(json.dumps(json.loads(text)) for text in generate.texts().values())
    rules = (ROOT / "deploy" / "prometheus" / "rules.yml").read_text()
    asked = used(dashboards) | used(rules)
    assert len(asked) > 20
    assert asked <= documented()


def test_every_alert_is_tested_and_documented() -> None:
    names = set(re.findall(r"alert: (\w+)", (ROOT / "deploy" / "prometheus" / "rules.yml").read_text()))
    tested = set(re.findall(r"alertname: (\w+)", (ROOT / "tests" / "deploy" / "rules_test.yml").read_text()))
    page = (ROOT / "docs" / "deploy.md").read_text()
    assert len(names) == 19
    assert tested == names
    assert set(re.findall(r"^\| `(Covey\w+)` \|", page, flags=re.MULTILINE)) == names


def test_panels_do_not_overlap() -> None:
    for text in generate.texts().values():
        cells = [
            (x, y)
            for panel in json.loads(text)["panels"]
            for place in [panel["gridPos"]]
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        ]
        assert len(cells) == len(set(cells))
        assert max(x for x, _ in cells) < 24
