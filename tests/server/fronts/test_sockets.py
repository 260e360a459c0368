"""A process's own connections, looked at through real sockets."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from covey_server.fronts import sockets
from covey_server.fronts.sockets import Sockets, address_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sockets are looked at on Linux only")


class Pair:
    """A connection to a listener of this process."""

    def __init__(self, stack: ExitStack, family: socket.AddressFamily, host: str) -> None:
        listener = stack.enter_context(socket.create_server((host, 0), family=family))
        self.port = listener.getsockname()[1]
        self.caller = stack.enter_context(socket.create_connection((host, self.port)))
        self.server = stack.enter_context(listener.accept()[0])
        self.address = (host, self.caller.getsockname()[1])


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def pair(stack: ExitStack) -> Pair:
    return Pair(stack, socket.AF_INET, "127.0.0.1")


def test_only_the_accepted_side_of_the_port_is_found_and_only_once(pair: Pair) -> None:
    looked = Sockets(pair.port)
    assert looked.look() == ({pair.server.fileno(): pair.address}, set())
    assert looked.look() == ({}, set())
    number = pair.server.fileno()
    pair.server.close()
    assert looked.look() == ({}, {number})


def test_a_copy_that_somebody_keeps_for_a_moment_is_no_other_connection(pair: Pair) -> None:
    looked = Sockets(pair.port)
    looked.look()
    copy = os.dup(pair.server.fileno())
    assert looked.look() == ({}, set())
    os.close(copy)
    new, gone = looked.look()
    assert (new, gone - {copy}) == ({}, set())
    assert looked.figures(pair.server.fileno()) is not None


def test_what_came_and_what_was_written_is_counted_to_the_byte(pair: Pair) -> None:
    looked = Sockets(pair.port)
    looked.look()
    pair.caller.sendall(bytes(1000))
    received = 0
    while received < 1000:
        received += len(pair.server.recv(1000))
    pair.server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    pair.server.setblocking(False)
    written = pair.server.send(bytes(1 << 20))  # nobody reads: some of it is not even sent
    figures = looked.figures(pair.server.fileno())
    assert figures is not None
    assert (figures.received_bytes, figures.written_bytes) == (1000, written)


def test_a_connection_that_is_ended_reads_as_closed_on_both_sides_and_its_number_stays(pair: Pair) -> None:
    looked = Sockets(pair.port)
    looked.look()
    number = pair.server.fileno()
    assert looked.end(number)
    assert (pair.caller.recv(1), pair.server.recv(1)) == (b"", b"")
    assert pair.server.fileno() == number
    assert os.fstat(number)


def test_a_number_that_is_another_sockets_now_is_left_alone(stack: ExitStack, pair: Pair) -> None:
    looked = Sockets(pair.port)
    looked.look()
    other, end = socket.socketpair()
    stack.enter_context(other)
    stack.enter_context(end)
    os.dup2(other.fileno(), pair.server.fileno())
    assert not looked.end(pair.server.fileno())
    end.sendall(b"x")
    assert other.recv(1) == b"x"


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("ipv4:127.0.0.1:80", ("127.0.0.1", 80)),
        ("ipv6:[::1]:80", ("::1", 80)),
        ("ipv6:%5B::1%5D:80", ("::1", 80)),
        ("ipv6:[::ffff:10.0.0.1]:80", ("10.0.0.1", 80)),
        ("unix:", None),
        ("unix:3", None),
    ],
)
def test_the_fronts_names_for_callers_are_read(peer: str, expected: sockets.Address | None) -> None:
    assert address_of(peer) == expected


def test_callers_by_ipv6_are_found_by_the_same_address(stack: ExitStack) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    try:
        pair = Pair(stack, socket.AF_INET6, "::1")
    except OSError:
        pytest.skip("no IPv6 here")
    assert Sockets(pair.port).look()[0] == {pair.server.fileno(): address_of(f"ipv6:[::1]:{pair.address[1]}")}
