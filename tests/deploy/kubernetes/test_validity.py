"""The manifests are valid: by Kubernetes' own schemas of several versions, and by a second reading of its API, which
also knows the operators' resources. A test of the tests shows that both notice a misspelled field."""

from __future__ import annotations

import copy
import importlib
from typing import Any

import pytest
from tests.deploy.kubernetes import rendering
from tests.deploy.kubernetes.rendering import VARIANTS, Manifest

OLDEST, NEWEST = "1.30", "1.37"  # the oldest has preStop's sleep, which the chart asks for
OPERATORS = ("monitoring.coreos.com", "keda.sh", "serving.kserve.io")
# What the models of an older API do not know yet, as installed here (Python 3.11).
NEWER = {("ScaledObject", "spec.fallback.behavior")}


def validate(manifest: Manifest, version: str) -> None:
    """By kubernetes-validate, strictly: unknown fields are errors. Raises its ValidationError."""
    module = pytest.importorskip("kubernetes_validate")
    module.validate(manifest, version, strict=True)


def lost(manifest: Manifest) -> list[str]:
    """The fields that are not in the API as cloudcoil's typed models have it. Raises pydantic's ValidationError for
    values of another type."""
    pytest.importorskip("cloudcoil")
    group, _, version = manifest["apiVersion"].rpartition("/")
    package = {
        "keda.sh": "cloudcoil.models.keda",
        "monitoring.coreos.com": "cloudcoil.models.prometheus_operator",
    }.get(group, f"cloudcoil.models.kubernetes.{group.split('.')[0] or 'core'}")
    model = getattr(importlib.import_module(f"{package}.{version}"), manifest["kind"])
    kept = model.model_validate(manifest).model_dump(by_alias=True, exclude_unset=True, mode="json")
    return [path for path in paths(manifest) if path not in set(paths(kept))]


def paths(value: Any, before: str = "") -> list[str]:  # noqa: ANN401 - any JSON
    """`spec.replicas` and the like, of all that a manifest says."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, each in items for path in (f"{before}{key}", *paths(each, f"{before}{key}."))]


def is_built_in(manifest: Manifest) -> bool:
    return not manifest["apiVersion"].startswith(OPERATORS)


@pytest.mark.parametrize("variant", VARIANTS)
def test_they_are_valid_for_the_oldest_and_the_newest_kubernetes(variant: str) -> None:
    manifests = [each for each in rendering.of_variant(variant) if is_built_in(each)]
    assert manifests
    for version in (OLDEST, NEWEST):
        for manifest in manifests:
            if version == OLDEST and "image" in volumes(manifest):
                continue  # such volumes are younger
            validate(manifest, version)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_second_reading_of_the_api_knows_every_field(variant: str) -> None:
    for manifest in rendering.of_variant(variant):
        unknown = [path for path in lost(manifest) if (manifest["kind"], path) not in NEWER]
        assert not unknown, f"{manifest['kind']} {manifest['metadata']['name']}"


def test_what_kserve_makes_a_pod_of_is_valid() -> None:
    """(Its own resources were held against KServe's definitions by hand: docs/kubernetes.md.)"""
    runtimes = rendering.of_kind(rendering.kserve(), "ServingRuntime")
    assert len(runtimes) == 2
    for runtime in runtimes:
        spec = {key: runtime["spec"][key] for key in ("containers", "volumes")}
        validate({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": spec}, NEWEST)
    assert {each["metadata"]["name"] for each in rendering.built(rendering.KSERVE)} == {"covey", "covey-grpc"}


@pytest.mark.parametrize("field", ["readinesProbe", "imagee"])
def test_both_notice_a_misspelled_field(field: str) -> None:
    manifest = copy.deepcopy(rendering.the(rendering.kustomized("cpu"), "Deployment", "covey"))
    manifest["spec"]["template"]["spec"]["containers"][0][field] = "x"
    assert lost(manifest) == [f"spec.template.spec.containers.0.{field}"]
    with pytest.raises(Exception, match=field):
        validate(manifest, NEWEST)


def volumes(manifest: Manifest) -> list[str]:
    """The kinds of volumes of its pods, if it has any."""
    return [kind for pod in rendering.pods([manifest]) for volume in pod["spec"]["volumes"] for kind in volume]
