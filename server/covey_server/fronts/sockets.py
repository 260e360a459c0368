"""This process's own TCP sockets, as the kernel knows them (Linux): found in /proc/self/fd, measured by TCP_INFO, ended
by shutdown.

The fronts' libraries own the sockets and may close them at any time. So a file number is used only while its inode is
the same, and a connection is ended by a copy whose inode was checked again.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import ipaddress
import os
import resource
import socket
import stat
import struct
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

IS_AVAILABLE = sys.platform == "linux"
_FOLDER = "/proc/self/fd"
_TCP_INFO = 11
# struct tcp_info of linux/tcp.h: tcpi_bytes_received; tcpi_notsent_bytes; tcpi_bytes_sent and tcpi_bytes_retrans, which
# came with Linux 4.19.
_READ = struct.Struct("=128xQ8xI52xQQ")

Address = tuple[str, int]


@dataclass(slots=True)
class Figures:
    """One connection's counts since it was made."""

    received_bytes: int
    written_bytes: int  # by this process, sent or not


class Sockets:
    """The connections of one listening port. For one thread."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._inodes: dict[int, int] = {}  # of all open sockets, by file number
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._buffer = ctypes.create_string_buffer(_READ.size)
        self._length = ctypes.c_uint32()

    def look(self) -> tuple[dict[int, Address], set[int]]:
        """What changed since the last look: the new connections, as callers' addresses by file number; and the file
        numbers that are closed, or used for something else."""
        found = {number: inode for number in _open_files() if (inode := _socket_inode(number))}
        gone = {number for number, inode in self._inodes.items() if found.get(number) != inode}
        known = {inode for number, inode in self._inodes.items() if number not in gone}
        new: dict[int, Address] = {}
        for number, inode in found.items():
            # A second number of the same socket is somebody's copy of it.
            if self._inodes.get(number) != inode and inode not in known:
                known.add(inode)
                address = self._caller(number)
                if address is not None:
                    new[number] = address
        self._inodes = found
        return new, gone

    def figures(self, number: int) -> Figures | None:
        """Measures a connection. None if it is no TCP connection any more."""
        self._length.value = _READ.size
        done = self._libc.getsockopt(number, socket.IPPROTO_TCP, _TCP_INFO, self._buffer, ctypes.byref(self._length))
        if done or self._length.value < _READ.size:
            return None
        received, unsent, sent, again = _READ.unpack(self._buffer)
        return Figures(received, sent - again + unsent)

    def end(self, number: int) -> bool:
        """Shuts a connection down, so that its library closes it. Returns False if it is gone already."""
        try:
            connection = socket.socket(fileno=os.dup(number))
        except OSError as error:
            if error.errno != errno.EMFILE:
                return False
            with _borrowed(number) as connection:
                return self._shut(number, connection)
        with connection:
            return self._shut(number, connection)

    def _shut(self, number: int, connection: socket.socket) -> bool:
        if os.fstat(connection.fileno()).st_ino != self._inodes.get(number):
            return False
        with contextlib.suppress(OSError):  # the other side was faster
            connection.shutdown(socket.SHUT_RDWR)
        return True

    def _caller(self, number: int) -> Address | None:
        """The address of a connection's other end; None for sockets that are no connection to this port."""
        try:
            with _borrowed(number) as connection:
                if connection.family not in (socket.AF_INET, socket.AF_INET6):
                    return None
                if connection.getsockname()[1] != self._port:
                    return None
                host, port = connection.getpeername()[:2]
        except OSError:
            return None  # it listens, or is closed meanwhile
        return _plain(host), port


def handles(port: int, *, listening: bool) -> Iterator[socket.socket]:
    """Second handles on the sockets at a local port that listen, or that are connections; to be closed by the caller.
    Linux only: elsewhere none is found."""
    for number in _open_files() if IS_AVAILABLE else ():
        if not _socket_inode(number):
            continue
        try:
            handle = socket.socket(fileno=os.dup(number))
        except OSError:  # closed meanwhile
            continue
        is_tcp = handle.family in (socket.AF_INET, socket.AF_INET6) and handle.type == socket.SOCK_STREAM
        is_at_port = is_tcp and handle.getsockname()[1] == port
        if is_at_port and listening == bool(handle.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)):
            yield handle
        else:
            handle.close()


def file_limit() -> int:
    """How many files the process may have open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def has_files_left(count: int) -> bool:
    """Whether about `count` more files can be opened: a new file gets the lowest free number, which tells."""
    try:
        number = os.dup(0)
    except OSError as error:
        return error.errno != errno.EMFILE
    os.close(number)
    return number + count < file_limit()


def _socket_inode(number: int) -> int:
    """The inode of a socket; 0 if it is no socket, or closed meanwhile."""
    try:
        status = os.fstat(number)
    except OSError:
        return 0
    return status.st_ino if stat.S_ISSOCK(status.st_mode) else 0


def _open_files() -> Iterable[int]:
    try:
        return [int(name) for name in os.listdir(_FOLDER)]  # noqa: PTH208 - paths of 1,000 files would cost 3 ms
    except OSError:  # no file can be opened any more: then all numbers are in use
        return range(file_limit())


@contextlib.contextmanager
def _borrowed(number: int) -> Iterator[socket.socket]:
    """A socket object for a file number, which stays open afterwards."""
    connection = socket.socket(fileno=number)
    try:
        yield connection
    finally:
        connection.detach()


@lru_cache(4096)
def address_of(peer: str) -> Address | None:
    """The address in a peer's name: "ipv4:127.0.0.1:1234", "ipv6:[::1]:1234", "ipv6:%5B::1%5D:1234"; None for
    others."""
    kind, _, rest = peer.partition(":")
    host, _, port = rest.rpartition(":")
    if kind not in ("ipv4", "ipv6") or not port.isdigit():
        return None
    return _plain(host.replace("%5B", "").replace("%5D", "").strip("[]")), int(port)


@lru_cache(4096)
def _plain(host: str) -> str:
    """An address in its one usual form; an IPv4 address also where it comes mapped to IPv6."""
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return str(mapped or address)
    return host
