"""What the page lives on: figures as server-sent events, the files beside a model, what the server says of itself."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import WriteModel
from tests.server.conftest import Server, StartServer, running_servers
from tests.server.http.asking import PIXELS, TIMEOUT_S, ask, connected, is_closed, png
from tests.waiting import wait_until

from covey_server.protocols.rest import live

WATCH = b"GET /v1/watch HTTP/1.1\r\nHost: a\r\n\r\n"


class Watcher:
    """Reads the events of one connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        connection.sendall(WATCH)
        self._reader = connection.makefile("rb")
        self.status = self._reader.readline()
        self.headers = dict(line.rstrip().split(b": ", 1) for line in iter(self._reader.readline, b"\r\n"))

    def next(self) -> dict[str, Any]:
        """The next snapshot."""
        line = self._reader.readline()
        while not line.startswith(b"data: "):
            assert line, "the stream has ended"
            line = self._reader.readline()
        found: dict[str, Any] = json.loads(line[len(b"data: ") :])
        return found

    def close(self) -> None:
        self._reader.close()


@contextmanager
def watching(server: Server) -> Iterator[Watcher]:
    with connected(server.http_port) as connection:
        watcher = Watcher(connection)
        yield watcher
        watcher.close()


def requests(snapshot: dict[str, Any], model: str, code: str) -> float:
    family = snapshot["covey_requests"]
    rows = [dict(zip([*family["labels"], "count"], row, strict=True)) for row in family["rows"]]
    return sum(float(row["count"]) for row in rows if (row["model"], row["code"]) == (model, code))


def test_each_snapshot_has_the_counts_of_metrics(server: Server) -> None:
    with watching(server) as watcher:
        assert watcher.status.startswith(b"HTTP/1.1 200 ")
        assert watcher.headers[b"Content-Type"] == b"text/event-stream"
        assert b"Content-Length" not in watcher.headers
        first = watcher.next()
        for pixels in PIXELS[:3]:
            assert ask(server.http_port, "POST", "/v1/models/echo/classify", png(pixels)).status == 200
        before = requests(first, "echo", "OK")
        second = watcher.next()
        while requests(second, "echo", "OK") < before + 3:
            second = watcher.next()
        assert requests(second, "echo", "OK") == before + 3
        histogram = second["covey_request_seconds"]
        row = next(each for each in histogram["rows"] if each[0] == "echo")
        assert len(row[2]) == len(histogram["bounds"])
        assert row[2][-1] == requests(second, "echo", "OK")
        assert second["time"] > first["time"]
        assert "python_gc_collections" not in second


def test_only_so_many_may_watch_and_those_who_left_leave_room(
    start_server: StartServer, tmp_path: Path, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path)
    server = start_server(tmp_path)
    connections = [
        socket.create_connection(("127.0.0.1", server.http_port), TIMEOUT_S) for _ in range(live.MAX_WATCHERS)
    ]
    watchers = [Watcher(each) for each in connections]
    for watcher in watchers:
        watcher.next()
    refused = ask(server.http_port, "GET", "/v1/watch")
    assert refused.status == 429
    assert "retry-after" in refused.headers
    for watcher in watchers:
        watcher.close()
    connections.pop().close()
    wait_until(lambda: server.app.http is not None and server.app.http.open == live.MAX_WATCHERS - 1)
    with watching(server) as late:
        late.next()
    for each in connections:
        each.close()


def test_a_watcher_that_leaves_while_figures_are_made_ends_nobody_elses_stream(
    start_server: StartServer, tmp_path: Path, write_echo_model: WriteModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "INTERVAL_S", 0.01)
    write_echo_model(tmp_path)
    server = start_server(tmp_path)
    front = server.app.http
    assert front is not None
    make_event = live.LiveRoute._event
    late: list[Watcher] = []
    with connected(server.http_port) as newcomer, connected(server.http_port) as leaver:
        first = Watcher(leaver)

        def event(route: live.LiveRoute) -> bytes:
            if not late:
                first.close()
                leaver.close()
                wait_until(lambda: front.open == 1)
                late.append(Watcher(newcomer))  # as it comes, those who left are forgotten
            return make_event(route)

        first.next()
        monkeypatch.setattr(live.LiveRoute, "_event", event)
        wait_until(lambda: bool(late))
        late[0].next()
        late[0].next()
        late[0].close()


def test_streams_end_when_the_server_stops(tmp_path: Path, write_echo_model: WriteModel) -> None:
    write_echo_model(tmp_path)
    with running_servers("native") as start:
        connection = socket.create_connection(("127.0.0.1", start(tmp_path).http_port), TIMEOUT_S)
        watcher = Watcher(connection)
        watcher.next()
    with connection:
        assert is_closed(connection)
        watcher.close()


def test_a_stream_ends_after_a_while_so_that_tokens_are_looked_at_again(
    start_server: StartServer, tmp_path: Path, write_echo_model: WriteModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "MAX_WATCH_S", 0.0)
    monkeypatch.setattr(live, "INTERVAL_S", 0.01)
    write_echo_model(tmp_path)
    with watching(start_server(tmp_path)) as watcher:
        assert is_closed(watcher.connection)


def test_a_watcher_that_reads_nothing_misses_snapshots_and_costs_nothing(
    start_server: StartServer, tmp_path: Path, write_echo_model: WriteModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "INTERVAL_S", 0.0001)
    write_echo_model(tmp_path)
    server = start_server(tmp_path)
    with connected(server.http_port) as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        silent.sendall(WATCH)
        with watching(server) as watcher:
            for _ in range(300):
                watcher.next()
        assert ask(server.http_port, "GET", "/readyz").status == 200


def test_who_asks_for_the_headers_gets_them(server: Server) -> None:
    answer = ask(server.http_port, "HEAD", "/v1/watch")
    assert (answer.status, answer.headers["content-type"], answer.body) == (200, "text/event-stream", b"")


def test_the_files_beside_a_model(start_server: StartServer, tmp_path: Path, write_echo_model: WriteModel) -> None:
    folder = write_echo_model(tmp_path, "echo").parent
    (folder / "report.html").write_text("<p>a report")
    (folder / "secret.txt").write_text("not for callers")
    os.mkfifo(folder / "report.json")
    (write_echo_model(tmp_path, "skewed", wrong_golden=True).parent / "MODEL_CARD.md").write_text("# Card")
    port = start_server(tmp_path).http_port
    assert ask(port, "GET", "/v1/models/echo/files").json == {"files": ["report.html"]}
    report = ask(port, "GET", "/v1/models/echo/files/report.html?version=1")
    assert (report.status, report.body) == (200, b"<p>a report")
    assert report.headers["content-security-policy"].startswith("sandbox allow-scripts; default-src 'none'")
    assert ask(port, "GET", "/v1/models/skewed/files/MODEL_CARD.md").body == b"# Card"
    for path in (
        "echo/files/secret.txt", "echo/files/model.onnx", "echo/files/MODEL_CARD.md", "echo/files/report.json",
        "echo/files/..%2freport.html", "nobody/files", "..%2fecho/files", "echo/files?version=2",
    ):  # fmt: skip
        answer = ask(port, "GET", f"/v1/models/{path}")
        assert answer.status == 404, path
        assert str(tmp_path) not in answer.error
    assert ask(port, "GET", "/v1/models/echo/files?version=one").status == 400


def test_files_that_callers_do_not_read_are_bounded(
    start_server: StartServer, tmp_path: Path, write_echo_model: WriteModel
) -> None:
    """29 callers that asked for a report of 30 MB and read nothing had the server hold 830 MB, and so on."""
    (write_echo_model(tmp_path).parent / "report.html").write_bytes(b"a" * (8 << 20))
    server = start_server(tmp_path, max_bytes=64 << 20)
    path = "/v1/models/echo/files/report.html"
    with connected(server.http_port) as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        silent.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert silent.recv(12) == b"HTTP/1.1 200"
        refused = ask(server.http_port, "GET", path)
        assert (refused.status, refused.headers["retry-after"]) == (429, "1")
        assert "bytes of answers are not read yet" in refused.error
    admission = server.app._admission
    wait_until(lambda: not admission.answer_bytes)
    assert len(ask(server.http_port, "GET", path).body) == 8 << 20
    wait_until(lambda: not admission.bytes)


def test_what_the_server_says_of_itself(server: Server) -> None:
    assert ask(server.http_port, "GET", "/v1/about").json["grpc_port"] == server.app.front.port
