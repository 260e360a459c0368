"""By which names the server may be called (DNS rebinding)."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import WriteModel
from tests.server.conftest import Server, StartServer
from tests.server.http.asking import PIXELS, ask, connected, png, read_answer

from covey_server.errors import InvalidConfiguration
from covey_server.fronts.http.hosts import Hosts

LOCAL = (
    "127.0.0.1", "127.0.0.1:8000", "[::1]:8000", "[::1]", "10.1.2.3:80", "localhost", "LOCALHOST:8000", "localhost.",
    "covey", "covey:8000", "covey.localhost", "host.docker.internal:8000",
)  # fmt: skip
STRANGE = (
    "evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example.", "::1.",
    "evil.example@localhost", "localhost/evil.example", "[evil.example]", "evil.example:localhost", "localhost:8000:1",
    "xn--lhost-fsa.example", "covey.local",
)  # fmt: skip


@pytest.mark.parametrize("host", LOCAL)
def test_what_no_stranger_can_point_here_is_always_answered(host: str) -> None:
    assert Hosts("", is_open=False).check(host.encode()) is None
    assert Hosts("covey.example", is_open=True).check(host.encode()) is None


@pytest.mark.parametrize("host", STRANGE)
def test_other_names_are_answered_only_where_any_may_be(host: str) -> None:
    assert Hosts("", is_open=True).check(host.encode()) is None
    assert Hosts("*", is_open=False).check(host.encode()) is None
    for hosts in (Hosts("", is_open=False), Hosts("covey.example, *.covey.example", is_open=True)):
        refusal = hosts.check(host.encode("latin-1"))
        assert refusal is not None
        assert refusal.http == 421


def test_names_that_are_given_are_answered() -> None:
    hosts = Hosts("Covey.Example, *.api.example", is_open=False)
    for good in (b"covey.example", b"COVEY.example:8000", b"covey.example.", b"a.api.example", b"a.b.api.example:1"):
        assert hosts.check(good) is None, good
    for bad in (b"a.covey.example", b"api.example", b"aapi.example", b"api.example.evil.example", b"*.api.example"):
        assert (hosts.check(bad) is None) == (bad == b"*.api.example"), bad


@pytest.mark.parametrize("text", ["http://covey.example", "covey.example:8000", "covey..example", "*example", "a b"])
def test_what_is_no_name_is_no_setting(text: str) -> None:
    with pytest.raises(InvalidConfiguration, match="expected names without port"):
        Hosts(text, is_open=True)


def test_a_page_that_points_its_name_to_this_machine_gets_nothing(server: Server) -> None:
    """Browsers send such a Host, and an Origin that is the same."""
    own = f"evil.example:{server.http_port}"
    requests: tuple[tuple[str, str, bytes | None, dict[str, str]], ...] = (
        ("GET", "/", None, {}),
        ("GET", "/v1/models", None, {}),
        ("GET", "/metrics", None, {}),
        ("POST", "/v1/models/echo/classify", png(PIXELS[0]), {"Origin": f"http://{own}"}),
        ("POST", "/v2/repository/index", b"", {"Origin": f"http://{own}"}),
        ("OPTIONS", "/v1/models", None, {"Origin": f"http://{own}", "Access-Control-Request-Method": "GET"}),
    )
    for method, path, body, headers in requests:
        answer = ask(server.http_port, method, path, body, {"Host": own, **headers})
        assert answer.status == 421, path
        assert "called by the name 'evil.example" in answer.error
        assert "--allowed-host" in answer.error
    again = {"Host": f"localhost:{server.http_port}"}
    assert ask(server.http_port, "POST", "/v1/models/echo/classify", png(PIXELS[0]), again).status == 200


def test_a_connection_is_not_bound_to_its_first_name(server: Server) -> None:
    get = b"GET /v1/models HTTP/1.1\r\nHost: %b\r\n\r\n"
    with connected(server.http_port) as connection:
        for name, status in ((b"localhost", 200), (b"localhost", 200), (b"evil.example", 421)):
            connection.sendall(get % name)
            assert read_answer(connection).status == status


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        ("http://localhost/v1/models", "localhost", 200),
        ("http://127.0.0.1:8000/healthz", "localhost", 200),
        ("http://[::1]:8000/healthz", "[::1]", 200),
        ("HTTP://LOCALHOST:1/healthz", "localhost", 200),
        ("http://evil.example/v1/models", "localhost", 421),
        ("http://evil.example:8000/healthz", "localhost", 421),
        ("http://localhost@evil.example/healthz", "localhost", 421),
        ("http://localhost/healthz", "evil.example", 421),
        ("http://evil.example/v1/models", "evil.example", 421),
    ],
)
def test_a_target_that_names_the_server_must_name_it_rightly_too(
    server: Server, target: str, host: str, status: int
) -> None:
    """As requests to proxies do; it then counts more than Host (RFC 9112, 3.2.2)."""
    with connected(server.http_port) as connection:
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert read_answer(connection).status == status


def test_who_proves_itself_or_listens_for_others_is_called_by_any_name(
    start_server: StartServer, tmp_path: Path, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path / "models")
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text("good\n")
    secret = start_server(tmp_path / "models", auth_token_file=str(token)).http_port
    headers = {"Host": "covey.example", "Authorization": "Bearer good"}
    assert ask(secret, "GET", "/v1/models", headers=headers).status == 200
    for settings, status in (({}, 200), ({"allowed_host": "covey.example"}, 421)):
        public = start_server(tmp_path / "models", host="0.0.0.0", **settings).http_port
        assert ask(public, "GET", "/v1/models", headers={"Host": "other.example"}).status == status
        assert ask(public, "GET", "/v1/models", headers={"Host": "covey.example"}).status == 200
        assert ask(public, "GET", "/healthz", headers={"Host": f"10.0.0.7:{public}"}).status == 200
