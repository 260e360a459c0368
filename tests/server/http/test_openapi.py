"""The OpenAPI document says what the server does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import WriteModel
from tests.server.conftest import Server, StartServer
from tests.server.http.asking import ask

CONFIG = Path(__file__).with_name("schemathesis.toml")


def test_each_route_is_in_the_document_and_each_path_is_a_route(server: Server) -> None:
    document = ask(server.http_port, "GET", "/openapi.json").json
    assert document["openapi"].startswith("3.1.")
    written = {
        (method, path)
        for path, operations in document["paths"].items()
        for method in operations.keys() - {"parameters"}
    }
    open_paths = {path for method, path in written if "security" in document["paths"][path][method]}
    rest = server.app._rest
    routes = {
        (method.lower(), route.path) for route in rest.routes for method in route.methods if route not in rest.pages
    }
    assert written == routes
    assert open_paths == {route.path for route in rest.routes if route.is_open and route not in rest.pages}


def test_all_references_lead_somewhere(server: Server) -> None:
    answer = ask(server.http_port, "GET", "/openapi.json")
    for kind in ("schemas", "responses"):
        names = set(re.findall(f'"#/components/{kind}/(\\w+)"', answer.body.decode()))
        assert names == answer.json["components"][kind].keys()


@pytest.mark.parametrize("names", ["real", "of managed models"])
def test_schemathesis_finds_nothing(
    server: Server, start_server: StartServer, tmp_path: Path, write_echo_model: WriteModel, names: str
) -> None:
    """No 500, no undocumented status, and answers are what their schemas say: about 1,000 requests, always the same
    ones."""
    # /v1/watch answers for two minutes; schemathesis makes no protobuf messages.
    options, settings = ["--exclude-path-regex", "^/v1/watch$|^/covey|^/grpc"], CONFIG.read_text()
    settings = f'[parameters]\n"path.model" = "echo"\n"path.version" = "1"\n\n{settings}'
    if names == "of managed models":
        write_echo_model(tmp_path / "models")
        server = start_server(tmp_path / "models", allow_management=True)
        options = ["--include-path-regex", "^/v2/repository/"]
    config = tmp_path / "schemathesis.toml"
    config.write_text(settings)
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run", *options]
    command += ["--phases", "examples,coverage,fuzzing", "--max-examples", "5", "--generation-deterministic"]
    command += ["--continue-on-failure", "--no-shrink", "--warnings", "off", "--request-timeout", "20"]
    command.append(f"http://127.0.0.1:{server.http_port}/openapi.json")
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    tested = re.search(r"(\d+) generated, (\d+) passed", run.stdout)
    assert tested is not None, run.stdout
    assert int(tested[2]) == int(tested[1]) > 50
