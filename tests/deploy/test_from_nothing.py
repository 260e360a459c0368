"""`docker compose up` as the README promises it: trains, serves, is healthy; the second time at once. Builds the image
with PyTorch (6 GB), and so is left out of .ci/run."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from tests.deploy.compose import TAG, Project, docker, failure, logs
from tests.deploy.test_compose import right_answers

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(1800)]
BOUND_S = 10.0
IMAGE = f"covey-export:{TAG}"


@pytest.fixture(scope="module")
def fresh(engine: None) -> Iterator[Project]:
    """A project of which nothing is there but, where they were built before, images."""
    made = Project(f"covey-fresh-{os.getpid()}")
    try:
        yield made
    finally:
        made.remove()


def test_up_trains_serves_and_is_healthy_and_the_second_time_at_once(fresh: Project) -> None:
    fresh.run("up", "--detach", "--build")
    fresh.wait_until_healthy()
    (server,) = fresh.containers("server")
    assert right_answers(fresh.published(server, 8001)) > 0.9
    fresh.run("down")
    fresh.run("up", "--detach")
    assert fresh.wait_until_healthy() < BOUND_S
    (export,) = fresh.containers("export")
    assert logs(export) == "export: /models/lenet is there\n"


def test_a_failed_export_keeps_the_server_from_starting(fresh: Project) -> None:
    fresh.run("down")
    settings = {**fresh.settings, "COVEY_NETWORKS": "lenot"}
    said = failure(*fresh.command, "up", "--detach", settings=settings)
    (export,) = fresh.containers("export")
    assert "lenot" in logs(export)
    assert "export" in said
    assert [docker("inspect", "-f", "{{.State.Running}}", each) for each in fresh.containers("server")] in (
        [],
        ["false\n"],
    )


def test_a_volume_of_another_user_is_told(fresh: Project) -> None:
    said = failure("docker", "run", "--rm", "--tmpfs", "/models:uid=4711,mode=755", IMAGE)
    assert "export: cannot write to /models as uid 10001; it belongs to uid 4711." in said
