"""The real Prometheus scrapes real servers: it finds all of them, every panel of the dashboards gets data under load,
and each alert fires when its cause is made and clears after. (CoveyDeviceFallback needs the GPU image: rules_test.yml.)
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.conftest import WriteModel
from tests.deploy.callers import calling
from tests.deploy.compose import ROOT, TAG, Project, docker, inspect, logs, wait_until
from tests.deploy.conftest import SERVERS, packed
from tests.deploy.prometheus import Prometheus

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]
EVERY_SERVER = "dns:///server:8001"
TOO_LATE = 4  # what `covey load` ends with where the machine was too busy for its calls to begin in time
PROMETHEUS = "prom/prometheus:v3.5.0"


@pytest.fixture(scope="module")
def prometheus(project: Project) -> Prometheus:
    """The project's, once it scrapes all servers."""
    (container,) = project.containers("prometheus")
    found = Prometheus(project.published(container, 9090))
    wait_until(lambda: found.targets_up() == SERVERS, "all servers are scraped", timeout_s=60)
    return found


def test_the_rules_are_sound(engine: None) -> None:
    rules = f"{ROOT}/deploy/prometheus/rules.yml:/test/rules.yml:ro"
    tests = f"{ROOT}/tests/deploy/rules_test.yml:/test/rules_test.yml:ro"
    promtool = ("run", "--rm", "-v", rules, "-v", tests, "--entrypoint", "promtool", PROMETHEUS)
    assert "SUCCESS" in docker(*promtool, "check", "rules", "/test/rules.yml")
    assert "SUCCESS" in docker(*promtool, "test", "rules", "/test/rules_test.yml")


def test_every_rule_is_evaluated(prometheus: Prometheus) -> None:
    wait_until(lambda: set(prometheus.rule_health().values()) == {"ok"}, "all rules evaluated", timeout_s=30)


def test_every_panel_has_data_while_the_profile_load_runs(project: Project, prometheus: Prometheus) -> None:
    queries = {
        f"{dashboard['title']}, {panel['title']}: {target['expr']}": target["expr"]
        .replace("$__rate_interval", "10s")
        .replace("$model", ".*")
        for path in sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
        for dashboard in [json.loads(path.read_text())]
        for panel in dashboard["panels"]
        for target in panel["targets"]
        if "covey_image_pixels" not in target["expr"]  # of encoded images; the load sends pixels
    }
    assert len(queries) > 30
    empty = set(queries)

    def all_have_data() -> bool:
        empty.difference_update([name for name in empty if prometheus.query(queries[name])])
        return not empty

    project.run("--profile", "load", "up", "--detach", "--no-deps", "--no-build", "load")
    (load,) = project.containers("load")
    wait_until(all_have_data, "data in all panels", timeout_s=30, found=empty)
    assert inspect(load)["State"]["Running"], logs(load)
    wait_until(lambda: not inspect(load)["State"]["Running"], "the load test is over", timeout_s=60)
    assert inspect(load)["State"]["ExitCode"] in (0, TOO_LATE), logs(load)
    assert {"load.json", "load.html"} <= set(_listed(project, "reports"))


def test_alerts_of_overload_of_a_bad_version_and_of_a_server_that_hangs(
    project: Project, prometheus: Prometheus
) -> None:
    hanging = project.containers("server")[0]
    prometheus.wait_until_quiet()
    with calling(project, EVERY_SERVER, threads=16, images=2_000, deadline_ms=300, retries=0):
        prometheus.wait_until_firing("CoveySaturated", "CoveySlow", "CoveyQueueing")
    with _paused(hanging), _bad_version(project):
        prometheus.wait_until_firing("CoveyUnreachable", "CoveyModelRefused")
    prometheus.wait_until_quiet()


def test_alerts_of_a_batch_that_does_not_end(
    project: Project, prometheus: Prometheus, tmp_path: Path, write_echo_model: WriteModel
) -> None:
    """In a server of its own, which the name `server` finds like the others."""
    write_echo_model(tmp_path, "stuck", hangs_at=199)  # the brightest pixel that the callers send
    name = f"{project.name}-stuck"
    docker("create", "--name", name, "--network", f"{project.name}_default", "--network-alias", "server",
           "-e", "COVEY_ENGINE_TIMEOUT_S=1", f"covey-server:{TAG}")  # fmt: skip
    try:
        docker("cp", "-", f"{name}:/models", standard_input=packed(tmp_path))
        docker("start", name)
        wait_until(lambda: prometheus.targets_up() == SERVERS + 1, "it is scraped before it fails", timeout_s=30)
        with calling(project, f"{name}:8001", threads=2, images=100, side=4, retries=0):
            prometheus.wait_until_firing("CoveyEngineStuck", "CoveyNotReady", "CoveyFailures")
    finally:
        docker("rm", "--force", name)
    prometheus.wait_until_quiet()


def test_the_alert_of_servers_that_are_gone(project: Project, prometheus: Prometheus) -> None:
    servers = project.containers("server")
    docker("stop", *servers)
    prometheus.wait_until_firing("CoveyDown")
    docker("start", *servers)
    project.wait_until_healthy(SERVERS)
    prometheus.wait_until_quiet()


def _listed(project: Project, volume: str) -> list[str]:
    """The names of what is in one of the project's volumes."""
    mounted = ("-v", f"{project.name}_{volume}:/listed:ro")
    return docker("run", "--rm", *mounted, "--entrypoint", "ls", f"covey-server:{TAG}", "/listed").split()


@contextmanager
def _paused(container: str) -> Iterator[None]:
    docker("pause", container)
    try:
        yield
    finally:
        docker("unpause", container)


@contextmanager
def _bad_version(project: Project) -> Iterator[None]:
    shell = ("run", "--rm", "-v", f"{project.name}_models:/models", "--entrypoint", "sh", f"covey-server:{TAG}", "-c")
    docker(*shell, "mkdir /models/lenet/9 && echo broken >/models/lenet/9/model.onnx")
    try:
        yield
    finally:
        docker(*shell, "rm -r /models/lenet/9")
