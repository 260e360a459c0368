"""deploy/swarm/stack.yml says of the server what docker-compose.yml says, as far as Swarm knows the words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from covey_server.command_line import parse

ROOT = Path(__file__).parents[2]


def service(file: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / file).read_text())["services"]["server"]
    return found


COMPOSE, STACK = service("docker-compose.yml"), service("deploy/swarm/stack.yml")


def test_what_both_have_is_the_same() -> None:
    """Networks and ports differ: in a swarm, each node publishes its own server's."""
    both = COMPOSE.keys() & STACK.keys() - {"image", "volumes", "ports", "networks"}
    assert {name: STACK[name] for name in both} == {name: COMPOSE[name] for name in both}
    assert both == {"init", "read_only", "cap_drop", "tmpfs", "logging", "environment", "stop_grace_period"}


def test_what_swarm_has_other_words_for_is_the_same() -> None:
    limits = STACK["deploy"]["resources"]["limits"]
    assert (limits["memory"].lower().removesuffix("m"), limits["pids"]) == ("512", COMPOSE["pids_limit"])
    assert COMPOSE["mem_limit"] == "512m"
    assert STACK["environment"]["COVEY_MAX_BYTES"] == 512 << 20 >> 2
    assert [port["target"] for port in STACK["ports"]] == [8001, 8000, 8002]
    assert {port["mode"] for port in STACK["ports"]} == {"host"}


def test_what_swarm_does_not_know_is_left_out() -> None:
    """`docker stack deploy` ignores or refuses these."""
    assert COMPOSE.keys() - STACK.keys() == {
        *("build", "depends_on", "security_opt"),
        *("cpus", "mem_limit", "pids_limit", "restart"),  # below `deploy`
    }


@pytest.mark.parametrize("file", ["tokens.yml", "tls.yml"])
def test_secrets_lie_where_the_server_looks_for_them(file: str) -> None:
    override = yaml.safe_load((ROOT / "deploy" / "swarm" / file).read_text())
    server = override["services"]["server"]
    assert override["services"].keys() == {"server"}
    user, group = re.findall(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[-1]
    found = parse([], server["environment"])
    looked_for = {found.auth_token_file, found.tls_certificate, found.tls_key} - {""}
    assert {f"/run/secrets/{secret['target']}" for secret in server["secrets"]} == looked_for
    for secret in server["secrets"]:
        assert (secret["uid"], secret["gid"], secret["mode"]) == (user, group, 0o400)
        kind = secret["source"]
        name = f"${{COVEY_{kind.upper()}_SECRET:-covey-{kind}-1}}"
        assert override["secrets"].pop(kind) == {"external": True, "name": name}
    assert override["secrets"] == {}
