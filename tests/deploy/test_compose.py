"""Three servers in one Compose project: calls are shared, one that is killed costs none, one that is stopped drains."""

from __future__ import annotations

import os
import signal
import time
from importlib import resources

import numpy as np
import pytest
from bench.processes import fetch
from tests.deploy.callers import calling
from tests.deploy.compose import Project, docker, inspect, wait_until
from tests.deploy.conftest import SERVERS

import covey

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]
EVERY_SERVER = "dns:///server:8001"
STOP_S = 30.0  # the bound of --drain-timeout-s and of what follows it


def answered(project: Project, container: str) -> float:
    """Calls that a server has answered, by its metrics."""
    page = fetch(f"http://{project.published(container, 8002)}/metrics")
    counts = [float(line.split()[-1]) for line in page.splitlines() if line.startswith("covey_requests_total{")]
    return sum(counts)


def right_answers(*targets: str) -> float:
    """The share of the sample's 1,000 test images that servers classify rightly, asked from this machine."""
    with (
        resources.files("covey_export.datasets").joinpath("sample.npz").open("rb") as file,
        np.load(file) as arrays,
        covey.Client(targets) as client,
    ):
        found = [each.index for each in client.classify_many(arrays["test_images"])]
        assert len(found) == 1000
        return float(np.mean(np.array(found) == arrays["test_labels"]))


def test_the_sdk_on_the_host_classifies_the_test_images(project: Project) -> None:
    assert right_answers(*(project.published(each, 8001) for each in project.containers("server"))) > 0.8


def test_all_servers_answer_one_client(project: Project) -> None:
    servers = project.containers("server")
    before = [answered(project, server) for server in servers]
    with calling(project, EVERY_SERVER) as callers:
        wait_until(
            lambda: all(answered(project, server) > 10 + had for server, had in zip(servers, before, strict=True)),
            "calls answered by each of the servers",
            timeout_s=30,
        )
    assert len(servers) == SERVERS
    assert callers.failures == {}


def test_a_killed_server_costs_no_call_and_comes_back(project: Project) -> None:
    killed = project.containers("server")[0]
    with calling(project, EVERY_SERVER) as callers:
        os.kill(inspect(killed)["State"]["Pid"], signal.SIGKILL)
        wait_until(lambda: bool(inspect(killed)["RestartCount"]), "the killed server restarted", timeout_s=30)
        project.wait_until_healthy(SERVERS)
    assert callers.failures == {}
    assert callers.answered > 100


def test_docker_stop_answers_what_was_accepted(project: Project) -> None:
    stopped = project.containers("server")[0]
    with calling(project, f"{inspect(stopped)['Name'].strip('/')}:8001", images=200, retries=0) as callers:
        began_s = time.monotonic()
        docker("stop", stopped)
        took_s = time.monotonic() - began_s
    state = inspect(stopped)["State"]
    docker("start", stopped)
    project.wait_until_healthy(SERVERS)
    assert state["ExitCode"] == 0, docker("logs", "--tail", "20", stopped)
    assert took_s < STOP_S
    assert callers.answered >= 4  # each of the callers was under way
    assert callers.failures
    assert {each.split(":")[0] for each in callers.failures} == {"Unavailable"}, callers.failures
