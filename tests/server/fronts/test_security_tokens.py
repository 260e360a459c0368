"""Tokens: what the file may hold, how it is followed, and that no call gets past without one, on either front."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from bench.processes import fetch
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from pygrpc_native import NativeGrpcFront
from tests.conftest import WriteModel
from tests.server.conftest import Server, running_servers
from tests.waiting import wait_until

from covey_proto.v1 import classifier_pb2 as pb
from covey_server.app import App
from covey_server.calls.status import Status
from covey_server.errors import InvalidConfiguration, PortUnavailable
from covey_server.fronts import native_servers, port_sockets
from covey_server.fronts.native import NativeFront
from covey_server.fronts.security.files import FollowedFiles
from covey_server.fronts.security.tokens import Tokens

FIRST, SECOND = "first-token.0123456789abcdef", "second/token+0123456789abcdef=="
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"  # of HTTP/2, and a client's empty settings


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines))
    path.chmod(0o600)
    return path


def accepts(tokens: Tokens, *headers: str) -> list[bool]:
    return [isinstance(tokens.identify(header.encode()), str) for header in headers]


def refresh(tokens: Tokens) -> None:
    """Two looks that find the same."""
    tokens.refresh()
    tokens.refresh()


def test_a_file_holds_several_tokens_and_comments(tmp_path: Path) -> None:
    tokens = Tokens(write(tmp_path / "tokens", "# for the web shop", FIRST, "", f"  {SECOND}  ", ""))
    good = (f"Bearer {FIRST}", f"Bearer {SECOND}", f"bearer  {FIRST}", f"Bearer {FIRST}")
    assert accepts(tokens, *good) == [True] * 4
    bad = [FIRST, f"Bearer {FIRST}x", f"Bearer {FIRST[:-1]}", "Bearer ", "Bearer", f"Basic {FIRST}", ""]
    bad += ["Bearer # for the web shop", f"Bearer {FIRST} {SECOND}", f"Bearer {FIRST}\n"]
    assert accepts(tokens, *bad) == [False] * 10
    assert tokens.refused == 10


def test_no_header_and_a_wrong_token_are_told_apart_and_none_is_repeated(tmp_path: Path) -> None:
    tokens = Tokens(write(tmp_path / "tokens", FIRST))
    missing, wrong = tokens.identify("ipv4:127.0.0.1:1234"), tokens.identify(b"Bearer wrong-token")
    assert isinstance(missing, Status)
    assert isinstance(wrong, Status)
    assert (missing.name, wrong.name) == ("UNAUTHENTICATED", "UNAUTHENTICATED")
    expected = "expected the metadata, over HTTP the header, `authorization: Bearer TOKEN`"
    assert f"the call brought none; {expected}" in missing.message
    assert f"is no token of this server; {expected}" in wrong.message
    assert "wrong-token" not in wrong.message


def test_only_so_many_accepted_headers_are_remembered(tmp_path: Path) -> None:
    tokens = Tokens(write(tmp_path / "tokens", FIRST))
    headers = [f"Bearer{' ' * blanks}{FIRST}" for blanks in range(1, 400)]
    assert accepts(tokens, *headers) == [True] * 399
    assert len(tokens._known.principals) == 256


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "it holds no token; expected one a line"),
        ("# nothing\n\n", "it holds no token; expected one a line"),
        (f"{FIRST}\nmy secret\n", "line 2 is no token: expected one a line"),
        ("gehört-mir", "line 1 is no token"),
    ],
)
def test_a_file_without_good_tokens_is_refused_and_not_quoted(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(InvalidConfiguration, match=message) as caught:
        Tokens(write(tmp_path / "tokens", content))
    assert "secret" not in str(caught.value)
    assert "mir" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfiguration, match=r"--auth-token-file .*/none: it cannot be read: No such file"):
        Tokens(tmp_path / "none")


def test_tokens_are_read_again_when_the_file_rests(tmp_path: Path) -> None:
    path = write(tmp_path / "tokens", FIRST)
    tokens = Tokens(path)
    assert accepts(tokens, f"Bearer {FIRST}", f"Bearer {SECOND}") == [True, False]
    write(path, SECOND)
    tokens.refresh()
    assert accepts(tokens, f"Bearer {FIRST}") == [True]  # it may be half-written: the next look decides
    tokens.refresh()
    assert accepts(tokens, f"Bearer {FIRST}", f"Bearer {SECOND}") == [False, True]


def test_a_file_of_another_content_but_the_same_size_and_time_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path / "tokens", FIRST)
    tokens, state = Tokens(path), path.stat()
    write(path, FIRST[::-1])
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    refresh(tokens)
    assert accepts(tokens, f"Bearer {FIRST}", f"Bearer {FIRST[::-1]}") == [False, True]


def test_what_could_not_be_read_is_tried_again_and_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "tokens", "old")
    files = FollowedFiles(path)

    def denied() -> bytes:
        raise InvalidConfiguration("it cannot be read: Permission denied")

    write(path, "newer")
    assert [files.read_new(denied, "the old ones stay") for _ in range(4)] == [None] * 4
    assert [each.getMessage() for each in caplog.records] == ["it cannot be read: Permission denied; the old ones stay"]
    assert files.read_new(path.read_bytes, "the old ones stay") == b"newer"
    assert files.read_new(path.read_bytes, "the old ones stay") is None


def test_a_bad_or_vanished_file_keeps_the_tokens_and_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "tokens", FIRST)
    tokens = Tokens(path)
    for change in (lambda: write(path, "not a token"), lambda: write(path, ""), path.unlink):
        caplog.clear()
        change()
        refresh(tokens)
        refresh(tokens)
        assert accepts(tokens, f"Bearer {FIRST}") == [True]
        (said,) = [each.getMessage() for each in caplog.records]
        assert "the tokens read before stay valid" in said
        assert "not a token" not in said
    write(path, SECOND)
    refresh(tokens)
    assert accepts(tokens, f"Bearer {FIRST}", f"Bearer {SECOND}") == [False, True]


def test_a_file_that_everybody_may_read_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "tokens", FIRST)
    Tokens(path)
    assert caplog.text == ""
    path.chmod(0o644)
    Tokens(path)
    assert "every user of this machine may read it; make it yours alone: chmod 600" in caplog.text


def test_a_file_that_everybody_may_read_from_now_on_is_warned_of_and_holds_the_same_tokens(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "tokens", FIRST, SECOND)
    tokens = Tokens(path)
    with caplog.at_level(logging.INFO):
        path.chmod(0o644)
        refresh(tokens)
        (said,) = [each.getMessage() for each in caplog.records]
        assert said.endswith("every user of this machine may read it; make it yours alone: chmod 600")
        caplog.clear()
        path.chmod(0o600)
        refresh(tokens)
        write(path, SECOND, "# the same in another order", FIRST)
        refresh(tokens)
        assert caplog.text == ""
        write(path, SECOND)
        path.chmod(0o644)
        refresh(tokens)
        warning, change = [each.getMessage() for each in caplog.records]
    assert "every user of this machine may read it" in warning
    assert change.endswith("have changed: 1 are valid now")


@pytest.fixture(scope="module")
def guarded(front: str, tmp_path_factory: pytest.TempPathFactory, write_echo_model: WriteModel) -> Iterator[Server]:
    """A server that wants one of two tokens."""
    folder = tmp_path_factory.mktemp("guarded")
    write_echo_model(folder / "models")
    tokens = write(folder / "tokens", FIRST, SECOND)
    with running_servers(front) as start:
        yield start(folder / "models", auth_token_file=str(tokens), allow_management=True)


REQUEST = pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(16))).SerializeToString()
UNARY = (
    "/covey.v1.Classifier/Classify",
    "/covey.v1.Classifier/ListModels",
    "/inference.GRPCInferenceService/ServerLive",
    "/inference.GRPCInferenceService/ModelReady",
    "/inference.GRPCInferenceService/ModelInfer",
    "/inference.GRPCInferenceService/RepositoryModelUnload",
    "/no.such.Service/Method",
)
STREAMS = (
    "/covey.v1.Classifier/ClassifyStream",
    "/inference.GRPCInferenceService/ModelStreamInfer",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
)


@pytest.mark.parametrize("metadata", [None, (("authorization", f"Bearer {FIRST}x"),), (("authorization", FIRST),)])
def test_no_method_is_reached_without_a_token(guarded: Server, metadata: tuple[tuple[str, str]] | None) -> None:
    for path in UNARY:
        unary: grpc.UnaryUnaryMultiCallable[bytes, bytes] = guarded.channel.unary_unary(path)
        with pytest.raises(grpc.RpcError, match="authorization: Bearer TOKEN") as caught:
            unary(REQUEST, metadata=metadata, timeout=20)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    for path in STREAMS:
        stream: grpc.StreamStreamMultiCallable[bytes, bytes] = guarded.channel.stream_stream(path)
        with pytest.raises(grpc.RpcError, match="authorization: Bearer TOKEN") as caught:
            list(stream(iter([REQUEST]), metadata=metadata, timeout=20))
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("token", [FIRST, SECOND])
def test_each_token_opens_every_service(guarded: Server, token: str) -> None:
    metadata = (("authorization", f"Bearer {token}"),)
    classify: grpc.UnaryUnaryMultiCallable[bytes, bytes] = guarded.channel.unary_unary(UNARY[0])
    assert pb.ClassifyResponse.FromString(classify(REQUEST, metadata=metadata, timeout=20)).model == "echo"
    live: grpc.UnaryUnaryMultiCallable[bytes, bytes] = guarded.channel.unary_unary(UNARY[2])
    assert live(b"", metadata=metadata, timeout=20) == b"\x08\x01"
    reflection = reflection_pb2_grpc.ServerReflectionStub(guarded.channel)
    question = reflection_pb2.ServerReflectionRequest(list_services="")
    (answer,) = reflection.ServerReflectionInfo(iter([question]), metadata=metadata, timeout=20)
    assert "covey.v1.Classifier" in [each.name for each in answer.list_services_response.service]


def test_health_needs_no_token_on_the_grpcio_front(guarded: Server) -> None:
    health = health_pb2_grpc.HealthStub(guarded.channel)
    # The native front asks for it before it knows the method: what came without one would be unfolded first.
    needs_one = guarded.app.front.name == "native"
    metadata = (("authorization", f"Bearer {FIRST}"),) if needs_one else None
    assert health.Check(health_pb2.HealthCheckRequest(), metadata=metadata, timeout=20).status == 1
    watch = health.Watch(health_pb2.HealthCheckRequest(service="live"), metadata=metadata, timeout=20)
    assert next(watch).status == 1
    watch.cancel()
    if needs_one:
        with pytest.raises(grpc.RpcError, match="authorization: Bearer TOKEN") as caught:
            health.Check(health_pb2.HealthCheckRequest(), timeout=20)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_refusals_are_counted(guarded: Server) -> None:
    def counted() -> float:
        lines = fetch(guarded.metrics_url).splitlines()
        (line,) = [each for each in lines if each.startswith('covey_refused_total{reason="token"}')]
        return float(line.split()[1])

    before = counted()
    assert guarded.error(pb.ClassifyRequest())[0] is grpc.StatusCode.UNAUTHENTICATED
    assert counted() == before + 1


def test_a_running_server_takes_up_new_tokens(guarded: Server, caplog: pytest.LogCaptureFixture) -> None:
    path = Path(guarded.app.config.auth_token_file)
    live: grpc.UnaryUnaryMultiCallable[bytes, bytes] = guarded.channel.unary_unary(UNARY[2])

    def is_valid(token: str) -> bool:
        try:
            return live(b"", metadata=(("authorization", f"Bearer {token}"),), timeout=20) == b"\x08\x01"
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                return False
            raise

    assert [is_valid(token) for token in (FIRST, "third")] == [True, False]
    with caplog.at_level(logging.INFO):
        write(path, "third", SECOND)
        while not is_valid("third"):  # a look a second; the test's own time limit ends it
            pass
        while "have changed: 2 are valid now" not in caplog.text:  # logged once they are in force
            time.sleep(0.001)
    assert [is_valid(token) for token in (FIRST, SECOND)] == [False, True]
    write(path, FIRST, SECOND)
    while not is_valid(FIRST):
        pass


def test_where_no_second_server_can_be_opened_the_old_tokens_stay(
    guarded: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    front = guarded.app.front
    if not isinstance(front, NativeFront):
        pytest.skip("only the native front opens another server for new tokens")
    path = Path(guarded.app.config.auth_token_file)
    live: grpc.UnaryUnaryMultiCallable[bytes, bytes] = guarded.channel.unary_unary(UNARY[2])

    def fail(_: str) -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(front._servers, "_open", fail)
        write(path, FIRST, "fourth")
        while "new tokens are not taken up yet: no second server on" not in caplog.text:  # a look a second
            time.sleep(0.001)
        assert live(b"", metadata=(("authorization", f"Bearer {FIRST}"),), timeout=20) == b"\x08\x01"
    code, is_first = grpc.StatusCode.UNAUTHENTICATED, True
    while code is not grpc.StatusCode.OK:  # the next look tries again
        code = live.future(b"", metadata=(("authorization", "Bearer fourth"),), timeout=20).code()
    write(path, FIRST, SECOND)
    while code is not grpc.StatusCode.OK or is_first:  # by a new connection: only the server with these tokens knows it
        with grpc.insecure_channel(guarded.target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            anew: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(UNARY[2])
            code = anew.future(b"", metadata=(("authorization", f"Bearer {SECOND}"),), timeout=20).code()
            is_first = False


class Renewable:
    """Native servers that know one token, take calls, and answer none."""

    def __init__(self, path: Path) -> None:
        self._path = write(path, FIRST)
        self._tokens = Tokens(path)
        self.servers = native_servers.NativeServers("127.0.0.1:0", [("/any.Service/Method", False)], self._tokens)
        self.servers.start(lambda front: lambda: front.recv_batch_details(8) is not None)

    def renew(self, token: str) -> None:
        """Another server takes the place of the one that runs."""
        write(self._path, token)
        refresh(self._tokens)
        self.servers.renew(0)


@pytest.fixture
def renewable(tmp_path: Path) -> Iterator[Renewable]:
    renewable = Renewable(tmp_path / "tokens")
    yield renewable
    renewable.servers.close(20)


def test_a_client_reads_why_its_connection_ends_although_the_server_left_bytes_of_it_unread(
    renewable: Renewable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the kernel resets the connection, and the client loses calls that it could send again."""
    client = socket.create_connection(("127.0.0.1", renewable.servers.port), timeout=20)
    ping = b"\0\0\x08\6\0\0\0\0\0eight by"
    client.sendall(PREFACE + ping)
    greeting = b""
    while b"eight by" not in greeting:
        greeting += client.recv(4096)
    is_idle, discard = native_servers._becomes_idle, port_sockets.discard_until_closed

    def becomes_idle(front: NativeGrpcFront) -> bool:
        client.sendall(ping)  # nobody reads it
        return is_idle(front)

    def discard_until_closed(connections: list[socket.socket], _: float) -> None:
        client.sendall(ping)  # it was on its way when the server closed
        discard(connections, 0.01)  # as if this client were slow to close its end

    monkeypatch.setattr(native_servers, "_becomes_idle", becomes_idle)
    monkeypatch.setattr(native_servers, "discard_until_closed", discard_until_closed)
    renewable.renew(SECOND)
    with client:
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        received = b""
        while some := client.recv(4096):
            received += some
    assert received.endswith(b"\0\0\x08\7\0\0\0\0\0" + bytes(8))  # GOAWAY: no stream was processed, no error


def test_what_comes_by_connections_of_other_servers_is_not_discarded(
    renewable: Renewable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two renewals soon after each other: the first server still has a call when the second one closes."""
    servers = renewable.servers
    monkeypatch.setattr(native_servers, "_DRAIN_S", 0.1)
    discarded: list[object] = []

    def discard_until_closed(connections: list[socket.socket], _: float) -> None:
        discarded.append([each.getpeername() for each in connections])

    monkeypatch.setattr(native_servers, "discard_until_closed", discard_until_closed)
    with grpc.insecure_channel(f"127.0.0.1:{servers.port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
        method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/any.Service/Method")
        call = method.future(b"", metadata=(("authorization", f"Bearer {FIRST}"),), timeout=20)
        wait_until(lambda: native_servers._unfinished(servers._current.front) == 1)
        renewable.renew(SECOND)
        assert discarded == []
        with socket.create_connection(("127.0.0.1", servers.port), timeout=20) as client:
            client.sendall(PREFACE)
            assert client.recv(1)
            renewable.renew("third")
            assert discarded == [[client.getsockname()]]
            assert native_servers._unfinished(servers._retired[0].front) == 1
        call.cancel()


def test_callers_whose_token_stays_valid_notice_nothing_of_new_ones(guarded: Server) -> None:
    """A server that was replaced is closed between two calls, whoever keeps calling."""
    path = Path(guarded.app.config.auth_token_file)
    metadata = (("authorization", f"Bearer {SECOND}"),)
    ended = threading.Event()

    lost: list[grpc.StatusCode] = []

    def call_on() -> int:
        with grpc.insecure_channel(guarded.target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            classify: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(UNARY[0])
            done = 0
            while not ended.is_set():
                code = classify.future(REQUEST, metadata=metadata, timeout=20).code()
                lost.extend([code] * (code is not grpc.StatusCode.OK))
                done += 1
            return done

    live: grpc.UnaryUnaryMultiCallable[bytes, bytes] = guarded.channel.unary_unary(UNARY[2])
    with ThreadPoolExecutor(8) as callers:
        calling = [callers.submit(call_on) for _ in range(8)]
        try:
            for number in range(3):
                write(path, SECOND, f"new{number}")
                valid = False
                while not valid:
                    call = live.future(b"", metadata=(("authorization", f"Bearer new{number}"),), timeout=20)
                    assert call.code() in (grpc.StatusCode.OK, grpc.StatusCode.UNAUTHENTICATED)
                    valid = call.code() is grpc.StatusCode.OK
        finally:
            ended.set()
        assert min(each.result() for each in calling) > 0
    assert lost == []
    write(path, FIRST, SECOND)


def test_a_second_server_is_refused_the_port(guarded: Server) -> None:
    """Servers that ask for tokens share a port with their successors, and with nobody else."""
    with pytest.raises(PortUnavailable, match=f"cannot listen on 127.0.0.1:{guarded.app.front.port}"):
        App(replace(guarded.app.config, grpc_port=guarded.app.front.port))
