"""The manifests agree: with the server they start, with each other, with the alert rules, and with the metrics."""

from __future__ import annotations

import math
import re
from dataclasses import fields

import pytest
import yaml
from deploy.edge.settings import Settings
from deploy.kubernetes import generate
from tests.deploy.kubernetes import rendering
from tests.deploy.kubernetes.kubelet import image
from tests.deploy.kubernetes.rendering import CHART, KSERVE, KUBERNETES, VARIANTS, Manifest
from tests.deploy.test_dashboards import documented, used

from covey_proto import __version__
from covey_server import command_line
from covey_server.config import Config
from covey_server.errors import REFUSAL_REASONS
from covey_server.processes import supervisor

SERVER_SETTINGS = {f"COVEY_{each.name.upper()}" for each in fields(Config)}
EDGE_SETTINGS = {f"COVEY_EDGE_{each.name.upper()}" for each in fields(Settings)} | {"COVEY_MAX_MESSAGE_BYTES"}
EXPORT_SETTINGS = {"COVEY_NETWORKS", "COVEY_DATASET"}


@pytest.fixture(params=VARIANTS)
def manifests(request: pytest.FixtureRequest) -> tuple[Manifest, ...]:
    """Each variant in turn."""
    return rendering.of_variant(request.param)


def component(pod: Manifest) -> str:
    return str(pod["metadata"]["labels"]["app.kubernetes.io/component"])


def test_every_pod_is_of_the_restricted_standard_and_writes_to_its_volumes_alone(
    manifests: tuple[Manifest, ...],
) -> None:
    for pod in rendering.pods(manifests):
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["runAsUser"] == spec["securityContext"]["fsGroup"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert (spec["automountServiceAccountToken"], spec["enableServiceLinks"]) == (False, False)
        for each in rendering.containers(pod):
            held = {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert each["securityContext"] == held
            assert {"cpu", "memory"} <= each["resources"]["limits"].keys()
        if component(pod) == "server":
            (server,) = spec["containers"]
            assert {each["mountPath"] for each in server["volumeMounts"] if not each.get("readOnly")} == {"/tmp"}


def test_every_variable_is_one_that_the_container_knows(manifests: tuple[Manifest, ...]) -> None:
    known = {"server": SERVER_SETTINGS, "edge": EDGE_SETTINGS, "export": EXPORT_SETTINGS}
    for pod in rendering.pods(manifests):
        for each in rendering.containers(pod):
            names = [variable["name"] for variable in each.get("env", ())]
            assert len(names) == len(set(names))
            assert set(names) <= known[component(pod)]
            if component(pod) == "server" and each["name"] == "server":
                command_line.parse([], {variable["name"]: variable["value"] for variable in each["env"]})


def test_the_grace_is_longer_than_all_that_the_server_may_take(manifests: tuple[Manifest, ...]) -> None:
    for pod in rendering.pods(manifests):
        for each in pod["spec"]["containers"]:
            sleep_s = each.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
            told = {variable["name"]: variable["value"] for variable in each.get("env", ())}
            left_s = pod["spec"].get("terminationGracePeriodSeconds", 30) - sleep_s
            if component(pod) == "server":
                drain_s = math.ceil(float(told["COVEY_DRAIN_TIMEOUT_S"]))
                assert left_s >= drain_s + supervisor._SHOWN_S + supervisor._END_S
            elif component(pod) == "edge":
                assert left_s >= 25 + 5  # deploy/edge/__main__.py


def test_a_server_has_whole_cores_and_all_that_it_asks_for(manifests: tuple[Manifest, ...]) -> None:
    """With a quota of 1.5 it would see two cores, and be throttled."""
    for pod in rendering.pods(manifests):
        if component(pod) == "server":
            for each in rendering.containers(pod):
                limits = each["resources"]["limits"]
                assert re.fullmatch(r"[1-9]\d*", str(limits["cpu"]))
                assert "requests" not in each["resources"]  # so they are the limits


def test_selectors_names_and_ports_lead_somewhere(manifests: tuple[Manifest, ...]) -> None:
    pods = rendering.pods(manifests)

    def ports_of(labels: dict[str, str]) -> set[str]:
        """The names of the ports of the pods with these labels; fails where there are none."""
        found = [pod for pod in pods if labels.items() <= pod["metadata"]["labels"].items()]
        assert found, labels
        return {port["name"] for pod in found for each in pod["spec"]["containers"] for port in each.get("ports", ())}

    services = {}
    for service in rendering.of_kind(manifests, "Service"):
        services[service["metadata"]["name"]] = {port["port"] for port in service["spec"]["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports_of(service["spec"]["selector"])
    for policy in rendering.of_kind(manifests, "NetworkPolicy"):
        ports = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
        assert ports <= ports_of(policy["spec"]["podSelector"]["matchLabels"])
    for deployment in rendering.of_kind(manifests, "Deployment"):
        assert ports_of(deployment["spec"]["selector"]["matchLabels"])
    for budget in rendering.of_kind(manifests, "PodDisruptionBudget"):
        assert ports_of(budget["spec"]["selector"]["matchLabels"])
    for monitor in rendering.of_kind(manifests, "ServiceMonitor"):
        labels = monitor["spec"]["selector"]["matchLabels"].items()
        (watched,) = [
            each for each in rendering.of_kind(manifests, "Service") if labels <= each["metadata"]["labels"].items()
        ]
        assert {each["port"] for each in monitor["spec"]["endpoints"]} <= {
            port["name"] for port in watched["spec"]["ports"]
        }
    for pod in pods:
        for each in rendering.containers(pod):
            assert {mount["name"] for mount in each.get("volumeMounts", ())} <= {
                volume["name"] for volume in pod["spec"]["volumes"]
            }
            for variable in each.get("env", ()):
                if variable["name"] in ("COVEY_EDGE_SERVER", "COVEY_EDGE_SERVER_STATUS"):
                    name, _, port = variable["value"].partition(":")
                    assert int(port) in services[name]
        claims = [volume.get("persistentVolumeClaim", {}).get("claimName") for volume in pod["spec"]["volumes"]]
        made = [claim["metadata"]["name"] for claim in rendering.of_kind(manifests, "PersistentVolumeClaim")]
        assert {claim for claim in claims if claim} <= set(made)


def test_an_autoscaler_alone_says_how_many_servers_there_are(manifests: tuple[Manifest, ...]) -> None:
    (server,) = [each for each in rendering.of_kind(manifests, "Deployment") if component(pod_of(each)) == "server"]
    scalers = rendering.of_kind(manifests, "HorizontalPodAutoscaler", "ScaledObject")
    assert ("replicas" in server["spec"]) == (not scalers)
    for scaler in scalers:
        assert scaler["spec"]["scaleTargetRef"]["name"] == server["metadata"]["name"]


def pod_of(deployment: Manifest) -> Manifest:
    template: Manifest = deployment["spec"]["template"]
    return template


def test_images_are_those_of_this_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == chart["version"] == __version__
    everything = [*(rendering.pods(rendering.kustomized("cpu"))), *rendering.pods(rendering.kustomized("edge"))]
    references = {each["image"] for pod in everything for each in rendering.containers(pod)}
    assert references == {f"covey-{name}:{__version__}" for name in ("server", "export", "edge")}
    assert f"covey-server-gpu:{__version__}" in str(rendering.kustomized("gpu"))
    for runtime in rendering.of_kind(rendering.kserve(), "ServingRuntime"):
        (each,) = runtime["spec"]["containers"]
        assert each["image"] == f"covey-server:{__version__}"
        told = {variable["name"]: variable["value"] for variable in each["env"]}
        command_line.parse([], image(each["image"]).environment | told)


def test_rules_are_those_of_prometheus_rules_yml() -> None:
    assert generate.PATH.read_text() == generate.text(), "run: python -m deploy.kubernetes.generate"
    rules = yaml.safe_load(generate.RULES.read_text())
    taken = rendering.of_kind(rendering.kustomized("cpu with monitoring and KEDA"), "PrometheusRule")
    taken += rendering.of_kind(rendering.charted("everything on"), "PrometheusRule")
    assert [each["spec"] for each in taken] == [rules, rules]


def test_autoscalers_ask_for_metrics_and_reasons_that_the_server_has() -> None:
    texts = [path.read_text() for path in KUBERNETES.glob("components/autoscale-*/*.yaml")]
    texts.append((CHART / "templates" / "autoscaling.yaml").read_text())
    asked = {name for text in texts for name in used(text)}
    assert asked - documented() == {"covey_queue_seconds_p90"}  # which the adapter makes
    assert "name: {as: covey_queue_seconds_p90}" in "".join(texts)
    reasons = {
        reason for text in texts for found in re.findall(r'reason=~"([^"]+)"', text) for reason in found.split("|")
    }
    assert reasons == {"calls", "bytes", "decode", "share", "deadline"} & set(REFUSAL_REASONS)
    query = "covey:refusals:ratio5m"
    (rule,) = re.findall(rf"{query}\n\s+expr: .+reason=~\"([^\"]+)\"", generate.RULES.read_text())
    assert reasons == set(rule.split("|")) - {"room", "address"}  # those are the edge's


def test_kserves_runtimes_are_held_as_the_pods_are() -> None:
    assert KSERVE.is_dir()
    for runtime in rendering.of_kind(rendering.kserve(), "ServingRuntime"):
        (each,) = runtime["spec"]["containers"]
        held = each["securityContext"]
        assert held["runAsNonRoot"]
        assert held["readOnlyRootFilesystem"]
        assert held["seccompProfile"] == {"type": "RuntimeDefault"}
        assert len(each["ports"]) == 1  # more, or probes of another, Knative refuses
        (port,) = each["ports"]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            ((_, how),) = [item for item in each[probe].items() if item[0] in ("httpGet", "grpc")]
            assert how["port"] == port["containerPort"]
    (service,) = rendering.of_kind(rendering.kserve(), "InferenceService")
    model = service["spec"]["predictor"]["model"]
    runtime = rendering.the(rendering.kserve(), "ServingRuntime", model["runtime"])
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]
    assert model["modelFormat"]["name"] == runtime["spec"]["supportedModelFormats"][0]["name"]
