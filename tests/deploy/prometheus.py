"""A Prometheus server as the tests ask it, over its HTTP API."""

from __future__ import annotations

import json
import urllib.parse
from typing import Any

from bench.processes import fetch
from tests.deploy.compose import wait_until

_TIMEOUT_S = 90


class Prometheus:
    """The one at `host:port`."""

    def __init__(self, address: str) -> None:
        self._address = address

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that a query gives now, without those that are not a number."""
        found = self._ask("query", query=expression)["result"]
        return [series for series in found if series["value"][1] != "NaN"]

    def targets_up(self) -> int:
        """Servers whose last scrape succeeded."""
        return sum(target["health"] == "up" for target in self._ask("targets")["activeTargets"])

    def rule_health(self) -> dict[str, str]:
        """`ok` and the like by the name of each rule."""
        groups = self._ask("rules")["groups"]
        return {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}

    def firing(self) -> set[str]:
        """The names of the alerts that fire now."""
        return {alert["labels"]["alertname"] for alert in self._ask("alerts")["alerts"] if alert["state"] == "firing"}

    def wait_until_firing(self, *alerts: str) -> None:
        """Until all of these have fired, together or one after the other; others may."""
        missing = set(alerts)

        def have_fired() -> bool:
            missing.difference_update(self.firing())
            return not missing

        wait_until(have_fired, "firing", _TIMEOUT_S, found=missing)

    def wait_until_quiet(self) -> None:
        """Until none fires but CoveyDrift: load tests send noise, which is no digit."""
        fires: set[str] = set()

        def is_quiet() -> bool:
            fires.clear()
            fires.update(self.firing() - {"CoveyDrift"})
            return not fires

        wait_until(is_quiet, "quiet", _TIMEOUT_S, found=fires)

    def _ask(self, what: str, **arguments: str) -> Any:  # noqa: ANN401 - JSON
        page = fetch(f"http://{self._address}/api/v1/{what}?{urllib.parse.urlencode(arguments)}")
        answer = json.loads(page)
        assert answer["status"] == "success", page
        return answer["data"]
