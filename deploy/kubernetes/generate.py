"""Writes the rules of deploy/prometheus/rules.yml as the Prometheus operator takes them, comments included:
`python -m deploy.kubernetes.generate`. (Helm's chart reads rules.yml itself.)
"""

from __future__ import annotations

import textwrap
from pathlib import Path

RULES = Path(__file__).parent.parent / "prometheus" / "rules.yml"
PATH = Path(__file__).parent / "components" / "monitoring" / "prometheusrule.yaml"
_HEAD = """\
# Made of deploy/prometheus/rules.yml by `python -m deploy.kubernetes.generate`.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: covey
spec:
"""


def text() -> str:
    """The PrometheusRule."""
    return _HEAD + textwrap.indent(RULES.read_text(), "  ")


if __name__ == "__main__":
    PATH.write_text(text())
    print(f"wrote {PATH.name}")
