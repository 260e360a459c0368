"""The parts of which a server of several processes is made, one by one."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from covey_server.command_line import parse
from covey_server.config import Config
from covey_server.errors import InvalidConfiguration
from covey_server.processes import merging, shares
from covey_server.processes.channel import Channel, Unanswered
from covey_server.processes.merging import Ended, Plain
from covey_server.processes.restarts import Restarts
from covey_server.system.ports import ReservedPort, require_free


def counted(requests: float, *, version: str = "1", waiting: float = 0, ready: float = 1, served: float = 1) -> Plain:
    """The metrics of a process."""
    registry = CollectorRegistry()
    labels = ("model", "version")
    Counter("covey_requests", "", labels, registry=registry).labels("echo", version).inc(requests)
    histogram = Histogram("covey_batch_size", "", labels, registry=registry, buckets=(1, 2)).labels("echo", version)
    for _ in range(int(requests)):
        histogram.observe(2)
    Counter("covey_refused", "", ("reason",), registry=registry).labels("calls").inc(requests)
    Gauge("covey_waiting_images", "", registry=registry).set(waiting)
    Gauge("covey_ready", "", registry=registry).set(ready)
    Gauge("covey_models_refused", "", registry=registry).set(served)
    return merging.plain(registry.collect())


def values(found: Plain) -> dict[str, float]:
    """By name, but for histograms' buckets and moments of creation."""
    return {
        sample.name: sample.value
        for family in merging.families(found)
        for sample in family.samples
        if not sample.name.endswith(("_bucket", "_created"))
    }


def test_counts_add_up_and_gauges_go_by_their_meaning() -> None:
    found = values(merging.merge([counted(3, waiting=2, served=1), counted(4, waiting=5, ready=0, served=2)]))
    assert found["covey_requests_total"] == found["covey_batch_size_count"] == 7
    assert found["covey_batch_size_sum"] == 14
    assert found["covey_waiting_images"] == 7
    assert found["covey_ready"] == 0
    assert found["covey_models_refused"] == 2


def test_what_ended_processes_counted_stays_until_its_version_is_gone() -> None:
    ended = Ended()
    ended.add(counted(3, waiting=9))
    ended.add(counted(4))
    running = [counted(1)]
    assert values(merging.merge([*running, ended.counts(running)]))["covey_requests_total"] == 8
    assert values(merging.merge([*running, ended.counts(running)]))["covey_waiting_images"] == 0
    assert values(ended.counts([]))["covey_requests_total"] == 7  # nobody runs: nothing is forgotten
    assert values(ended.counts([[]]))["covey_requests_total"] == 7  # nor while the successor has told nothing yet
    running = [counted(1, version="2")]
    found = values(merging.merge([*running, ended.counts(running)]))
    assert found["covey_requests_total"] == 1
    assert found["covey_refused_total"] == 8  # of no version


def test_a_process_is_replaced_at_once_then_later_and_later() -> None:
    restarts = Restarts()
    delays = [restarts.delay_s(0, 1.0, served=True) for _ in range(10)]
    assert delays == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert restarts.delay_s(1, 1.0, served=True) == 0.0  # another place
    assert restarts.delay_s(0, 3600.0, served=True) == 0.0  # it worked for long
    assert restarts.count == 12


def test_starts_that_fail_in_a_row_are_hopeless_until_one_serves() -> None:
    restarts = Restarts()
    for _ in range(4):
        restarts.delay_s(0, 0.1, served=False)
    assert not restarts.is_hopeless
    restarts.served()
    for place in (0, 1, 0, 1):
        restarts.delay_s(place, 0.1, served=False)
    assert not restarts.is_hopeless
    restarts.delay_s(0, 0.1, served=False)
    assert restarts.is_hopeless


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    with left, right:
        yield left, right


def test_both_sides_ask_at_once(sockets: tuple[socket.socket, socket.socket]) -> None:
    later: Future[int] = Future()
    left = Channel(sockets[0], lambda kind, value: later if kind == "later" else value + 1)
    right = Channel(sockets[1], lambda kind, value: value * 2)
    threads = [threading.Thread(target=each.run) for each in (left, right)]
    for thread in threads:
        thread.start()
    waiting = right.ask("later")
    assert [left.ask("double", each).result(20) for each in range(50)] == [2 * each for each in range(50)]
    assert right.ask("next", 1).result(20) == 2
    assert not waiting.done()
    later.set_result(7)
    assert waiting.result(20) == 7
    left.close()
    for thread in threads:
        thread.join(20)


def test_a_message_that_cannot_be_handled_ends_nothing(
    sockets: tuple[socket.socket, socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    def handle(kind: str, value: int) -> float:
        return 1 / value

    left, right = Channel(sockets[0], lambda kind, value: None), Channel(sockets[1], handle)
    threads = [threading.Thread(target=each.run) for each in (left, right)]
    for thread in threads:
        thread.start()
    with pytest.raises(Unanswered, match="the other side failed; its log says why"):
        left.ask("inverse", 0).result(20)
    assert "ZeroDivisionError" in caplog.text
    left.send("inverse", 0)
    assert left.ask("inverse", 2).result(20) == 0.5
    left.close()
    for thread in threads:
        thread.join(20)


def test_nobody_waits_for_a_side_that_is_gone(sockets: tuple[socket.socket, socket.socket]) -> None:
    def handle(kind: str, value: Any) -> None:  # noqa: ANN401 - as it was sent
        raise AssertionError(f"nobody says {kind} {value} here")

    channel = Channel(sockets[0], handle)
    before = channel.ask("figures")
    sockets[1].close()
    with pytest.raises(ConnectionError, match="gone"):
        channel.receive()
    channel.run()
    for answer in (before, channel.ask("figures")):
        with pytest.raises(Unanswered, match="gone"):
            answer.result(20)
    channel.send("stop")  # is lost


def test_a_reserved_port_takes_no_connection_and_is_nobody_elses() -> None:
    reserved = ReservedPort("127.0.0.1", 0)
    try:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", reserved.port), timeout=20)
        for attempt in (
            lambda: ReservedPort("127.0.0.1", reserved.port),
            lambda: socket.create_server(("127.0.0.1", reserved.port)),
            lambda: require_free(f"127.0.0.1:{reserved.port}"),
        ):
            with pytest.raises(OSError, match="Address already in use"):
                attempt()
        with (
            socket.create_server(("127.0.0.1", reserved.port), reuse_port=True),
            socket.create_server(("127.0.0.1", reserved.port), reuse_port=True),
            pytest.raises(OSError, match="Address already in use"),
        ):
            ReservedPort("127.0.0.1", reserved.port)
    finally:
        reserved.close()
    socket.create_server(("127.0.0.1", reserved.port)).close()


def test_a_port_is_reserved_again_right_after_a_server_with_connections() -> None:
    with socket.create_server(("127.0.0.1", 0)) as before:
        port = before.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as caller:
            before.accept()[0].close()  # first: its end waits (TIME_WAIT)
            assert caller.recv(1) == b""
    ReservedPort("127.0.0.1", port).close()


def test_limits_of_the_server_are_divided_and_others_are_not() -> None:
    config = Config(processes=3, max_calls=10, max_bytes=300, max_decode_bytes=0, max_connections=7, http_port=1)
    one = shares.of_one(config, 5, 6)
    assert (one.max_calls, one.max_bytes, one.max_decode_bytes, one.max_connections) == (4, 100, 0, 3)
    assert (one.grpc_port, one.http_port, one.processes) == (5, 6, 3)
    assert (one.max_message_bytes, one.workers, one.threads) == (config.max_message_bytes, 0, 1)
    assert shares.from_message(shares.to_message(one)) == one


def test_calls_cannot_manage_the_models_of_several_processes() -> None:
    with pytest.raises(InvalidConfiguration, match="reaches one process only; publish versions into the models folder"):
        parse(["--processes", "2", "--allow-management"], {})
    assert parse(["--processes", "1", "--allow-management"], {}).allow_management
