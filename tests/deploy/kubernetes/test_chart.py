"""Helm's chart: what it refuses, that its schema and page know every setting and value, and that it says what the
overlays say."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from typing import Any

import pytest
import yaml
from deploy.edge.settings import Settings
from tests.deploy.compose import ROOT
from tests.deploy.kubernetes import rendering
from tests.deploy.kubernetes.rendering import CHART, CHARTED, Manifest

from covey_server.config import Config

# What the chart's `env` cannot set: it does so itself, or its ports, probes and mounts rely on the default.
OWN = {"models", "host", "grpc_port", "http_port", "metrics_port", "metrics_host", "device", "drain_timeout_s", "check"}
OWN |= {"drain_delay_s", "probe", "tls_certificate", "tls_key", "tls_client_ca", "auth_token_file"}
EDGE_OWN = {"listen", "status_listen", "server", "server_status", "certificate", "key", "client_ca", "token_file"}
EDGE_OWN |= {"folder", "messages", "max_message_bytes"}


def test_the_chart_knows_every_setting_and_no_other() -> None:
    """So that a misspelled one is refused by `helm install`, and none is missing."""
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]
    server = {f"COVEY_{each.name.upper()}" for each in fields(Config) if each.name not in OWN}
    edge = {f"COVEY_EDGE_{each.name.upper()}" for each in fields(Settings) if each.name not in EDGE_OWN}
    assert set(schema["env"]["propertyNames"]["enum"]) == server, "change deploy/helm/covey/values.schema.json"
    assert set(schema["edge"]["properties"]["env"]["propertyNames"]["enum"]) == edge | {"COVEY_MAX_MESSAGE_BYTES"}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"resources": {"limits": {"cpu": "1.5", "memory": "1Gi"}}}, "does not match pattern"),
        ({"env": {"COVEY_MAX_CALS": 1}}, "COVEY_MAX_CALS"),
        ({"env": {"COVEY_METRICS_PORT": 1}}, "COVEY_METRICS_PORT"),
        ({"replicaCont": 3}, "replicaCont"),
        ({"models": {"source": "disk"}}, "models/source"),
        ({"probes": {"type": "grpc"}, "tokens": {"secretName": "t"}}, "has no TLS and no token; use http"),
        ({"edge": {"enabled": True}, "tls": {"secretName": "t"}}, "give one of them"),
        ({"models": {"source": "image"}, "export": {"enabled": True}}, "set models.source to claim"),
    ],
)
def test_the_chart_refuses_what_cannot_work(values: dict[str, Any], said: str) -> None:
    with pytest.raises(rendering.helm().HelmError, match=re.escape(said)):
        rendering.rendered(values)


def test_the_chart_passes_helms_own_check() -> None:
    found = rendering.helm().lint(str(CHART), strict=True)
    assert found["errors"] == []
    assert [each["error"] for each in found["messages"]] == ["icon is recommended"]


def test_two_releases_do_not_meet() -> None:
    """Names and selectors of two in one namespace."""
    manifests = [
        [each for text in rendering.rendered(CHARTED["everything on"], release).values() for each in parsed(text)]
        for release in ("one", "two")
    ]
    first, second = ({(each["kind"], each["metadata"]["name"]) for each in found} for found in manifests)
    assert not first & second
    selected, labels = manifests[0], [pod["metadata"]["labels"] for pod in rendering.pods(manifests[1])]
    for service in rendering.of_kind(selected, "Service"):
        assert not [each for each in labels if service["spec"]["selector"].items() <= each.items()]


def parsed(text: str) -> list[Manifest]:
    return [each for each in yaml.safe_load_all(text) if each]


def test_chart_and_overlays_say_the_same() -> None:
    """But for labels, the namespace, and what an overlay is there to change."""
    values: dict[str, dict[str, Any]] = {
        "cpu": {"export": {"enabled": True}},
        "gpu": {
            "image": {"repository": "covey-server-gpu"},
            "resources": {"limits": {"cpu": "2", "memory": "4Gi", "nvidia.com/gpu": "1"}},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        },
        "edge": {"edge": {"enabled": True}, "tokens": {"secretName": "covey-tokens"}},
        "cpu with monitoring and KEDA": {"export": {"enabled": True}, "autoscaling": {"type": "keda"}},
        "gpu with the HorizontalPodAutoscaler": {"autoscaling": {"type": "hpa"}},
        "edge with models from a bucket": {"models": {"source": "bucket"}, "monitoring": {"enabled": True}},
        "gpu with models from an image": {"models": {"source": "image"}},
    }
    for name, own in values.items():
        base = values[name.split()[0]] | own
        if "monitoring" in name:
            base["monitoring"] = {"enabled": True}
        theirs = {key(each): simplified(each) for each in rendering.kustomized(name) if each["kind"] != "Namespace"}
        texts = rendering.rendered(base).values()
        ours = {key(each): simplified(each) for text in texts for each in parsed(text)}
        if not base.get("edge"):  # the component scrapes an edge where there is one
            theirs.pop(("PodMonitor", "covey-edge"), None)
        assert ours.keys() == theirs.keys(), name
        for each in ours:
            assert ours[each] == theirs[each], (name, each)


def key(manifest: Manifest) -> tuple[str, str]:
    return manifest["kind"], re.sub(r"-export-1$", "-export", manifest["metadata"]["name"])


def simplified(manifest: Manifest) -> str:
    """A manifest without labels and what else the two ways have of their own, sorted."""
    text = json.dumps(manifest.get("spec", {}), sort_keys=True)
    text = re.sub(r',pod=~\\"covey-\.\+\\"', "", text)  # a namespace may hold several releases
    spec = json.loads(text)
    return json.dumps(_without(spec), sort_keys=True, indent=1)


def _without(value: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, dict):
        left = ("labels", "imagePullPolicy", "app.kubernetes.io/instance", "app.kubernetes.io/version")
        return {name: _without(each) for name, each in value.items() if name not in left}
    if isinstance(value, list):
        return sorted((_without(each) for each in value), key=lambda each: json.dumps(each, sort_keys=True))
    return value


def test_the_page_tells_every_value() -> None:
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    table = page[page.index("| value | default |") : page.index("Cores and memory need no settings")]
    told = {name for cell in re.findall(r"^\| (`.+?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)}
    assert told == set(yaml.safe_load((CHART / "values.yaml").read_text()))
