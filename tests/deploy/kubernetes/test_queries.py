"""What the autoscalers ask Prometheus, by promtool: of a server where images wait, of an idle one, of refusals."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.deploy.compose import docker, engine_answers
from tests.deploy.kubernetes import rendering
from tests.deploy.test_monitoring import PROMETHEUS

pytestmark = pytest.mark.docker

# 60 images a minute wait for 20 to 50 ms at server a, so p90 is 47 ms; server b is idle.
_BUCKETS = {"0.02": "0+0x20", "0.05": "0+15x20", "+Inf": "0+15x20"}
_POD = 'namespace="covey",pod="covey-{}"'


def test_queue_times_and_refusals_are_seen_and_an_idle_server_counts_as_zero(tmp_path: Path) -> None:
    scaled = [
        *rendering.of_kind(rendering.kustomized("cpu with monitoring and KEDA"), "ScaledObject"),
        *rendering.of_kind(rendering.charted("everything on"), "ScaledObject"),
    ]
    cases: list[dict[str, Any]] = []
    for each in scaled:
        queue, refusals = (trigger["metadata"]["query"] for trigger in each["spec"]["triggers"])
        cases.append({"expr": queue, "exp_samples": [{"labels": "{}", "value": 0.047}]})
        cases.append({"expr": refusals, "exp_samples": [{"labels": "{}", "value": 0.1}]})
    adapter = yaml.safe_load((rendering.KUBERNETES / "components/autoscale-hpa/adapter-values.yaml").read_text())
    (rule,) = adapter["rules"]["custom"]
    asked = rule["metricsQuery"].replace("<<.LabelMatchers>>", 'namespace="covey"').replace("<<.GroupBy>>", "pod")
    by_pod = [{"labels": '{pod="covey-a"}', "value": 0.047}, {"labels": '{pod="covey-b"}', "value": 0}]
    cases.append({"expr": asked, "exp_samples": by_pod})
    series = [
        {"series": f'covey_queue_seconds_bucket{{{_POD.format(pod)},le="{le}"}}', "values": values}
        for pod, counts in (("a", _BUCKETS), ("b", dict.fromkeys(_BUCKETS, "7+0x20")))
        for le, values in counts.items()
    ]
    series += [{"series": f"covey_ready{{{_POD.format(pod)}}}", "values": "1x20"} for pod in "ab"]
    series += [
        {"series": f'covey_refused_total{{{_POD.format("a")},reason="calls"}}', "values": "0+3x20"},
        {"series": f'covey_refused_total{{{_POD.format("a")},reason="token"}}', "values": "0+99x20"},
        {"series": f'covey_requests_total{{{_POD.format("a")},code="OK"}}', "values": "0+30x20"},
    ]
    timed = [{**case, "eval_time": "5m"} for case in cases]
    tests = {
        "evaluation_interval": "15s",
        "tests": [{"interval": "15s", "input_series": series, "promql_expr_test": timed}],
    }
    (tmp_path / "queries.yml").write_text(yaml.safe_dump(tests))
    assert "SUCCESS" in promtool(tmp_path / "queries.yml")


def promtool(tests: Path) -> str:
    """What it says of a file of tests: the one of this machine, or the image's."""
    own = rendering.tool("promtool")
    if own is not None:
        done = subprocess.run([own, "test", "rules", str(tests)], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr
    if not engine_answers():
        pytest.skip("needs promtool (Debian: prometheus), or a Docker engine that answers")
    mounted = f"{tests}:/test/{tests.name}:ro"
    return docker(
        "run", "--rm", "-v", mounted, "--entrypoint", "promtool", PROMETHEUS, "test", "rules", f"/test/{tests.name}"
    )
