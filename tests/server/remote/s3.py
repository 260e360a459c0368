"""A real S3 server (moto's) in this process, and a proxy before it that cuts, holds back or refuses what it is told."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import Any

BUCKET = "covey"
URL = f"s3://{BUCKET}/models"


class Proxy:
    """Forwards connections to a port. `refuse` ends them at once; once `budget_bytes` of answers have
    passed, on all connections together, each is cut at its next one; `open` cleared holds answers back."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self.refuse = False
        self.budget_bytes: int | None = None
        self.open = threading.Event()
        self.open.set()
        self.held = threading.Event()  # once an answer was held back
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._connections: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def drop_all(self) -> None:
        """Ends the connections that there are: clients keep them open for later requests."""
        for each in tuple(self._connections):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.open.set()
        self._listener.close()
        self.drop_all()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.refuse:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self._target_port))
            self._connections |= {client, server}
            threading.Thread(target=self._pump, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, True), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, is_answer: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if is_answer:
                    if not self.open.is_set():
                        self.held.set()
                        self.open.wait()
                    if self.budget_bytes is not None:
                        self.budget_bytes -= len(data)
                        if self.budget_bytes < 0:
                            break
                sink.sendall(data)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._connections -= {source, sink}


class Bucket:
    """The bucket as its owner sees it, apart from the proxy. Keys are relative to a folder, by default of models."""

    def __init__(self, filesystem: Any, folder: str = "models") -> None:  # noqa: ANN401 - fsspec has no types
        self.filesystem = filesystem
        self._root = f"{BUCKET}/{folder}"

    def put(self, key: str, content: bytes) -> None:
        self.filesystem.pipe_file(f"{self._root}/{key}", content)

    def put_version(self, unit: str, files: Mapping[str, bytes], *, sums: bool = True) -> None:
        """A version with its SHA256SUMS, this one first."""
        if sums:
            self.put(f"{unit}/SHA256SUMS", sums_of(files))
        for name, content in files.items():
            self.put(f"{unit}/{name}", content)

    def delete(self, key: str) -> None:
        self.filesystem.rm_file(f"{self._root}/{key}")

    def clear(self) -> None:
        for path in self.filesystem.find(BUCKET):
            self.filesystem.rm_file(path)


def sums_of(files: Mapping[str, bytes]) -> bytes:
    """What `sha256sum` prints of them."""
    return "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items()).encode()


@contextlib.contextmanager
def serving() -> Iterator[int]:
    """moto's S3; its port."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield server.get_host_and_port()[1]
    finally:
        server.stop()
