"""Versions chosen by calls: over gRPC, over HTTP, by the SDK and by the command line; the files say it afterwards."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.conftest import WriteModel
from tests.server.conftest import Server, StartServer
from tests.server.http.asking import ask

import covey
from covey import cli
from covey_proto.v1 import classifier_pb2 as pb
from covey_server.models import choice_files


@pytest.fixture
def models(tmp_path: Path, write_echo_model: WriteModel) -> Path:
    """Versions 1 to 3 of echo, and a version 4 that is refused. 2 is the default one."""
    for version in (1, 2, 3):
        write_echo_model(tmp_path, version=version)
    write_echo_model(tmp_path, version=4, wrong_golden=True)
    (tmp_path / "echo" / "default-version").write_text("2")
    return tmp_path


@pytest.fixture
def server(start_server: StartServer, models: Path) -> Server:
    return start_server(models, allow_management=True, canary_share=0.0)


def files(models: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (models / "echo").iterdir() if path.is_file()}


def answering(server: Server) -> int:
    return server.classify(pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(16)))).version


def test_promoted_and_rolled_back_by_the_command(
    server: Server, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*words: str) -> str:
        assert cli.main([*words, "--target", server.target]) == 0
        return capsys.readouterr().out

    assert run("promote", "echo", "1") == "echo: default version 1\n"
    assert answering(server) == 1, "it is in force once it is answered"
    assert files(models) == {"default-version": "1\n2\n"}
    assert run("rollback", "echo") == "echo: default version 2\n"
    assert answering(server) == 2
    assert files(models) == {"default-version": "2\n"}
    assert run("canary", "echo", "3") == "echo: default version 2, canary 3\n"
    assert server.app.repository.catalog.canaries["echo"].version == 3
    assert run("shadow", "echo", "1") == "echo: default version 2, canary 3, shadow 1\n"
    assert files(models) == {"default-version": "2\n", "canary-version": "3\n", "shadow-version": "1\n"}
    assert run("rollback", "echo") == "echo: default version 2, shadow 1\n"
    assert run("canary", "echo", "3") == "echo: default version 2, canary 3, shadow 1\n"
    assert run("promote", "echo", "3") == "echo: default version 3, shadow 1\n"
    assert run("shadow", "echo", "0") == "echo: default version 3\n"
    assert files(models) == {"default-version": "3\n2\n"}


def test_a_promotion_that_is_asked_for_twice_can_still_be_rolled_back(server: Server, models: Path) -> None:
    with covey.Client(server.target) as client:
        for _ in range(2):
            assert client.choose("promote", "echo", 1) == covey.Choice("echo", 1, 0, 0)
        assert files(models) == {"default-version": "1\n2\n"}
        assert client.choose("rollback", "echo") == covey.Choice("echo", 2, 0, 0)


def test_what_a_rule_decides_while_a_call_fails_is_not_undone(
    server: Server, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = server.app.repository
    refresh = repository.refresh

    decided: list[bool] = []

    def decide_meanwhile() -> None:
        if (models / "echo" / "shadow-version").exists() and not decided:
            decided.append(choice_files.promote_canary(models, "echo", 3, 2))
        refresh()

    with covey.Client(server.target) as client:
        client.choose("canary", "echo", 3)
        monkeypatch.setattr(repository, "refresh", decide_meanwhile)
        with pytest.raises(covey.CoveyError, match="version 4"):
            client.choose("shadow", "echo", 4)
    assert decided == [True]
    assert files(models) == {"default-version": "3\n2\n"}


def test_a_version_that_became_the_default_by_itself_is_rolled_back_to_the_next_lower(
    server: Server, models: Path
) -> None:
    (models / "echo" / "default-version").unlink()
    for _ in range(3):
        server.app.repository.refresh()
    assert answering(server) == 3
    with covey.Client(server.target) as client:
        assert client.choose("promote", "echo", 3) == covey.Choice("echo", 3, 0, 0)
        assert files(models) == {"default-version": "3\n2\n"}
        (models / "echo" / "default-version").unlink()
        for _ in range(3):
            server.app.repository.refresh()
        assert client.choose("rollback", "echo") == covey.Choice("echo", 2, 0, 0)


@pytest.mark.parametrize("by_rule", [True, False])
def test_nothing_goes_back_to_a_canary_that_was_rolled_back(server: Server, models: Path, by_rule: bool) -> None:
    with covey.Client(server.target) as client:
        client.choose("promote", "echo", 1)
        assert files(models) == {"default-version": "1\n2\n"}
        client.choose("canary", "echo", 2)
        if by_rule:
            assert choice_files.roll_back_canary(models, "echo", 2, 1)
        else:
            client.choose("rollback", "echo")
        with pytest.raises(covey.InvalidRequest, match="no version is noted as its default one before 1"):
            client.choose("rollback", "echo")
    assert files(models) == {"default-version": "1\n"}
    assert answering(server) == 1


def test_by_http_and_the_sdk(server: Server, models: Path) -> None:
    chosen = ask(server.http_port, "POST", "/v1/models/echo/canary?version=1")
    expected = {"model": "echo", "default_version": 2, "canary_version": 1, "shadow_version": 0}
    assert (chosen.status, chosen.json) == (200, expected)
    for target in (server.target, f"http://127.0.0.1:{server.http_port}"):
        with covey.Client(target) as client:
            assert client.choose("canary", version=3) == covey.Choice("echo", 2, 3, 0)
            assert client.choose("canary", version=0) == covey.Choice("echo", 2, 0, 0)

    async def choose() -> covey.Choice:
        async with covey.AsyncClient(server.target) as client:
            return await client.choose("promote", "echo", 1)

    assert asyncio.run(choose()) == covey.Choice("echo", 1, 0, 0)
    assert ask(server.http_port, "POST", "/v1/models/echo/rollback").json["default_version"] == 2


def test_without_a_default_version_a_canary_leaves_the_served_one(server: Server, models: Path) -> None:
    (models / "echo" / "default-version").unlink()
    for _ in range(3):
        server.app.repository.refresh()
    assert answering(server) == 3
    with covey.Client(server.target) as client:
        client.choose("canary", "echo", 1)
    assert files(models) == {"default-version": "3\n", "canary-version": "1\n"}


@pytest.mark.parametrize(
    ("action", "model", "version", "error", "text"),
    [
        ("promote", "echo", 9, covey.UnknownModel, "version 9 of model 'echo' is not there"),
        ("promote", "other", 1, covey.UnknownModel, "'other' is not served here"),
        ("promote", "../echo", 1, covey.UnknownModel, "is not served here"),
        ("promote", "echo", 0, covey.InvalidRequest, "names no version"),
        ("promote", "echo", -1, covey.InvalidRequest, "version is -1"),
        ("promote", "echo", 4, covey.InvalidRequest, "version 4 of model 'echo' is not served: .*golden"),
        ("canary", "echo", 4, covey.InvalidRequest, "version 4 of model 'echo' is not served: .*golden"),
        ("canary", "echo", 2, covey.InvalidRequest, "version 2 of model 'echo' is its default one"),
        (
            "rollback",
            "echo",
            0,
            covey.InvalidRequest,
            r"before 2. Choose a version yourself \(1, 3\): covey promote echo VERSION",
        ),
        ("rollback", "echo", 1, covey.InvalidRequest, "rolling back goes to the one before"),
        ("retire", "echo", 1, covey.InvalidInput, "expected one of promote, rollback, canary, shadow"),
    ],
)
def test_what_cannot_be_chosen_changes_nothing(
    server: Server, models: Path, action: str, model: str, version: int, error: type[Exception], text: str
) -> None:
    with covey.Client(server.target) as client, pytest.raises(error, match=text):
        client.choose(action, model, version)  # type: ignore[arg-type]
    assert files(models) == {"default-version": "2"}
    assert answering(server) == 2


def test_a_version_that_is_refused_is_no_failure_of_the_server(server: Server) -> None:
    for target in (server.target, f"http://127.0.0.1:{server.http_port}"):
        with (
            covey.Client(target) as client,
            pytest.raises(covey.InvalidRequest, match=r"cannot do that: .* golden") as e,
        ):
            client.choose("canary", "echo", 4)
        assert e.value.status == "FAILED_PRECONDITION"
    assert ask(server.http_port, "POST", "/v1/models/echo/canary?version=4").status == 409


@pytest.mark.parametrize(("where", "what"), [(choice_files, "write"), (Path, "read_bytes")])
def test_a_folder_that_cannot_be_read_or_written(
    server: Server,
    models: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    where: object,
    what: str,
) -> None:
    """As root, tests can read and write any folder; so this one fails on purpose."""

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(where, what, fail)
    with (
        covey.Client(server.target) as client,
        pytest.raises(covey.ServerError, match=r"the models folder cannot be read or written: Input/output error"),
    ):
        client.choose("promote", "echo", 1)
    assert f"{models / 'echo'} cannot be read or written: Input/output error" in caplog.text
    assert files(models) == {"default-version": "2"}
    assert answering(server) == 2


@pytest.mark.parametrize("path", ["promote", "canary?version=", "canary?version=x", "rollback?version=1"])
def test_http_wants_a_version_where_one_belongs(server: Server, path: str) -> None:
    assert ask(server.http_port, "POST", f"/v1/models/echo/{path}").status == 400


def test_it_has_to_be_allowed(start_server: StartServer, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = start_server(models)
    with covey.Client(server.target) as client, pytest.raises(covey.PermissionDenied, match="--allow-management"):
        client.choose("promote", "echo", 1)
    assert ask(server.http_port, "POST", "/v1/models/echo/promote?version=1").status == 403
    assert cli.main(["promote", "echo", "1", "--target", server.target]) == 3
    assert "--allow-management" in capsys.readouterr().err
    assert files(models) == {"default-version": "2"}
