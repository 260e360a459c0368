"""`covey doctor` without a server: it looks at the installation instead."""

from __future__ import annotations

import socket

import pytest
from bench.processes import free_port

from covey.cli import main
from covey_load.cli import doctor


@pytest.fixture(autouse=True)
def ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a server are free."""
    for name in ("GRPC", "HTTP", "METRICS"):
        monkeypatch.setenv(f"COVEY_{name}_PORT", "0")
    monkeypatch.delenv("COVEY_TARGET", raising=False)


def test_of_this_installation(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--local"]) == 0
    said = capsys.readouterr().out
    assert "ok     onnxruntime: " in said
    assert "nothing stands in the way" in said


def test_what_stands_in_the_way(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("COVEY_GRPC_PORT", str(taken.getsockname()[1]))
        assert main(["doctor", "--local"]) == 2
    assert "for gRPC, cannot be opened on 127.0.0.1" in capsys.readouterr().out


def test_one_port_for_two(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    monkeypatch.setenv("COVEY_GRPC_PORT", str(port))
    monkeypatch.setenv("COVEY_METRICS_PORT", str(port))
    assert main(["doctor", "--local"]) == 2
    said = capsys.readouterr().out
    assert f"WRONG  port {port}: for metrics, is to be that of gRPC too\n       do: use another --metrics-port" in said
    assert "ok     port 0: any free one, for HTTP" in said


def test_ports_that_are_given_are_looked_at_instead(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port, free = taken.getsockname()[1], free_port()
        assert main(["doctor", "--local", "--grpc-port", str(free), "--metrics-port", str(port)]) == 2
    said = capsys.readouterr().out
    assert f"ok     port {free}: free, for gRPC" in said
    assert f"WRONG  port {port}: for metrics, cannot be opened on 127.0.0.1" in said
    assert "ok     port 0: any free one, for HTTP" in said  # of the environment


def test_ports_go_with_local_and_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "localhost:1", "--grpc-port", "9001"]) == 2
    assert main(["doctor", "--grpc-port", "9001"]) == 2
    assert main(["doctor", "--local", "--http-port", "65536"]) == 2
    first, second, third = capsys.readouterr().err.splitlines()
    assert first == second == "covey: --grpc-port: which port of this machine is to be looked at, goes with --local"
    assert third == "covey: --http-port 65536: expected -1 to 65535"


def test_an_address_of_another_machine(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("GRPC", "METRICS"):
        monkeypatch.setenv(f"COVEY_{name}_PORT", str(free_port()))
    monkeypatch.setenv("COVEY_METRICS_HOST", "192.0.2.1")
    assert main(["doctor", "--local"]) == 2
    said = capsys.readouterr().out
    assert "for metrics, cannot be opened on 192.0.2.1" in said
    assert "do: use --metrics-host (COVEY_METRICS_HOST) with an address of this machine" in said
    monkeypatch.setenv("COVEY_HOST", "192.0.2.1")
    assert main(["doctor", "--local"]) == 2
    assert "do: use --host (COVEY_HOST) with an address of this machine" in capsys.readouterr().out


def test_where_no_server_answers(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    nobody = f"localhost:{free_port()}"
    monkeypatch.setattr("covey_load.cli.load_options.DEFAULT_TARGET", nobody)
    assert main(["doctor"]) == 3
    said = capsys.readouterr().out
    assert said.startswith(f"no server answers at {nobody}, and no other was named; this is about the installation\n\n")
    assert "ok     Python: " in said


def test_a_server_that_was_named_is_meant(capsys: pytest.CaptureFixture[str]) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    assert main(["doctor", nobody, "--deadline-ms", "300"]) == 3
    assert "ok     Python: " not in capsys.readouterr().out
    assert main(["doctor", nobody, "--local"]) == 2
    assert "--local looks at this installation and at no server" in capsys.readouterr().err


def test_wrong_settings_are_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COVEY_GRPC_PORT", "x")
    assert main(["doctor", "--local"]) == 2
    assert capsys.readouterr().err == "covey: COVEY_GRPC_PORT='x': expected int\n"


def test_who_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert doctor._listens(f"127.0.0.1:{port}")
        assert doctor._listens(f"http://127.0.0.1:{port}")
    assert not doctor._listens(f"127.0.0.1:{port}")
