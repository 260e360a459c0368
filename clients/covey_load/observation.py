"""Observes the server from outside: its process, where it runs on this machine, its metrics page, and what speaks
HTTP/2 for it."""

from __future__ import annotations

import contextlib
import enum
import http.client
import ipaddress
import socket
import struct
import time
import urllib.request
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import psutil
from prometheus_client.parser import text_string_to_metric_families

from covey.errors import InvalidInput
from covey_load.measurement import ServerMetrics, ServerProcess
from covey_load.wire.connection import ProtocolError
from covey_load.wire.http2 import GrpcConnection
from covey_load.wire.sockets import Endpoint

_SCRAPE_TIMEOUT_S = 2.0
_MIN_CPU_S = 0.1  # of the server's: its clocks go in steps of 0.01 s
_CPU_SECONDS, _USABLE_CORES = "process_cpu_seconds_total", "covey_usable_cores"
_WATCHED = (
    *("covey_requests", "covey_refused", "covey_principal_refused", "covey_batch_size"),
    *("process_cpu_seconds", _USABLE_CORES),
)
_BY_LABELS = {"covey_refused_total": ("reason",), "covey_principal_refused_total": ("principal", "reason")}
_TRUE_BINARY_METADATA = 0xFE03  # a setting of HTTP/2 that gRPC's C core sends, and nobody else
_FORWARDERS = frozenset(
    [
        *("docker-proxy", "rootlessport", "rootlesskit", "slirp4netns", "pasta", "gvproxy"),  # of containers
        *("kubectl", "ssh", "sshd", "socat"),  # kubectl port-forward, ssh -L and -R
    ]
)


@dataclass(frozen=True, slots=True)
class Listener:
    """The process that listens on a port of this machine, and its program's name."""

    pid: int
    name: str

    @property
    def is_forwarder(self) -> bool:
        """Whether it only passes calls on, to a container or another machine."""
        return self.name in _FORWARDERS


def find_listener(endpoint: Endpoint) -> Listener | None:
    """The process that listens at `endpoint`; None where it is another machine's or another user's."""
    if not _is_this_machine(endpoint.host):
        return None
    try:
        listening = {
            connection.pid
            for connection in psutil.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
            and connection.laddr
            and connection.laddr.port == endpoint.port
            and connection.pid
        }
        if not listening:
            return None
        pid = _parent(listening)
        return Listener(pid, psutil.Process(pid).name())
    except psutil.Error:
        return None


def _parent(listening: Collection[int]) -> int:
    """Of the processes that share a port, their parent, which may listen itself or not."""
    parents = {psutil.Process(pid).ppid() for pid in listening}
    if len(listening) > 1 and len(parents) == 1:
        return parents.pop()
    return min(listening)  # they were started one after the other, by the first


def find_metrics(endpoint: Endpoint, *, is_http: bool = False) -> str | None:
    """The URL of a Covey server's metrics: by default one port above that of gRPC, or the port of HTTP (`is_http`);
    None where there is none."""
    url = f"http://{Endpoint(endpoint.host, endpoint.port + (not is_http)).authority}/metrics"
    try:
        return url if _is_covey_page(fetch(url)) else None
    except (OSError, ValueError):
        return None


def require_metrics(url: str) -> None:
    """Raises InvalidInput where a Covey server's metrics page is not there."""
    expected = "expected the page of a Covey server, such as http://localhost:8002/metrics"
    try:
        page = fetch(url)
    except (OSError, ValueError) as error:
        raise InvalidInput(f"--metrics-url {url}: cannot be read ({error}); {expected}") from error
    if not _is_covey_page(page):
        raise InvalidInput(f"--metrics-url {url}: has no covey_requests_total; {expected}")


def _is_covey_page(page: str) -> bool:
    return "covey_requests_total" in page


def _is_this_machine(host: str) -> bool:
    try:
        addresses = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    own_addresses = {address.address for interface in psutil.net_if_addrs().values() for address in interface}
    return any(
        address in own_addresses or ipaddress.ip_address(str(address).partition("%")[0]).is_loopback
        for address in addresses
    )


class Front(enum.Enum):
    """What speaks HTTP/2 for a server."""

    GRPCIO = "grpcio"  # gRPC's C core, as Covey's grpcio front
    OTHER = "other"  # Covey's native one, a proxy, another language's gRPC
    UNKNOWN = "unknown"


def find_front(endpoint: Endpoint) -> Front:
    """Recognises the front by the settings that the server sends first. Never raises; it opens one connection and
    closes it."""
    try:
        with contextlib.closing(GrpcConnection(endpoint)) as connection:
            return Front.GRPCIO if _TRUE_BINARY_METADATA in connection.settings else Front.OTHER
    except (OSError, ProtocolError, struct.error):
        return Front.UNKNOWN


class ProcessWatch:
    """Measures the server's process and its children between two moments. Without a process, or if it ends, there are
    no figures."""

    def __init__(self, pid: int | None) -> None:
        self._pid = pid
        self._name = ""
        self._begin: tuple[float, float] | None = None  # moment, CPU seconds
        self._end: tuple[float, float] | None = None
        self._peak_bytes = 0

    def look(self) -> None:
        """Notes the memory; called now and then, since the peak is only known from such looks."""
        try:
            self._peak_bytes = max(self._peak_bytes, sum(process.memory_info().rss for process in family(self._pid)))
        except psutil.Error:
            return

    def begin(self) -> None:
        self._begin = self._now()

    def end(self) -> None:
        self.look()
        self._end = self._now()

    def figures(self, calls: int) -> ServerProcess | None:
        """The figures per call, for calls that ended between `begin` and `end`; None where the process was not there
        for both."""
        if self._pid is None or self._begin is None or self._end is None or not calls:
            return None
        wall_s, cpu_s = (end - begin for begin, end in zip(self._begin, self._end, strict=True))
        is_enough = cpu_s >= _MIN_CPU_S
        return ServerProcess(
            pid=self._pid,
            cpu_us_per_call=cpu_s * 1e6 / calls if is_enough else None,
            cores_used=cpu_s / wall_s if is_enough else None,
            peak_memory_bytes=self._peak_bytes,
            name=self._name,
        )

    def _now(self) -> tuple[float, float] | None:
        try:
            processes = family(self._pid)
            self._name = processes[0].name()
            times = [process.cpu_times() for process in processes]
        except psutil.Error:
            return None
        return time.perf_counter(), sum(cpu.user + cpu.system for cpu in times)


def family(pid: int | None) -> list[psutil.Process]:
    """A process and all its descendants. Raises psutil.NoSuchProcess where there is none of that id."""
    if pid is None:
        raise psutil.NoSuchProcess(-1)
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


class MetricsWatch:
    """Reads Covey's own counters before and after a load; without a metrics page there are no figures."""

    def __init__(self, url: str | None) -> None:
        self._url = url
        self._begin_s = time.perf_counter()
        self._before = self._counters()

    def figures(self, client_calls: int) -> ServerMetrics | None:
        """What was counted meanwhile; None where the page could not be read at one of the two times."""
        if self._before is None or (now := self._counters()) is None:
            return None
        wall_s = time.perf_counter() - self._begin_s
        increases = {name: value - self._before.get(name, 0.0) for name, value in now.items()}
        cpu_s = increases.get(_CPU_SECONDS, 0.0)
        batches = increases.get("covey_batch_size_count", 0.0)
        return ServerMetrics(
            requests=round(increases.get("covey_requests_total", 0.0)),
            client_calls=client_calls,
            mean_batch_size=increases["covey_batch_size_sum"] / batches if batches else None,
            refused=_counts(increases, "covey_refused_total/"),
            limited=_counts(increases, "covey_principal_refused_total/"),
            cores_used=cpu_s / wall_s if cpu_s >= _MIN_CPU_S else None,
            usable_cores=now.get(_USABLE_CORES),
        )

    def _counters(self) -> dict[str, float] | None:
        try:
            return counters(self._url) if self._url is not None else None
        except (OSError, ValueError):
            return None


def counters(url: str) -> dict[str, float]:
    """The counters of requests, refusals (`covey_refused_total/REASON`, `covey_principal_refused_total/TABLE/REASON`),
    batches and processor time on a Covey server's metrics page, over all models, and its usable cores. Raises OSError,
    ValueError."""
    totals: dict[str, float] = {}
    for kind in text_string_to_metric_families(fetch(url)):
        if kind.name.startswith(_WATCHED):
            for sample in kind.samples:
                labels = [sample.labels.get(label, "") for label in _BY_LABELS.get(sample.name, ())]
                name = "/".join((sample.name, *labels))
                totals[name] = totals.get(name, 0.0) + sample.value
    return totals


def _counts(increases: Mapping[str, float], prefix: str) -> dict[str, int]:
    """Those above 0 whose names have the prefix, without it."""
    return {
        name.removeprefix(prefix): round(value)
        for name, value in sorted(increases.items())
        if name.startswith(prefix) and value
    }


def affinity(pid: int) -> int | None:
    """The cores that a process of this machine may run on; None where the system does not tell."""
    try:
        return len(psutil.Process(pid).cpu_affinity() or ()) or None
    except (AttributeError, psutil.Error):
        return None


def fetch(url: str, timeout_s: float = _SCRAPE_TIMEOUT_S) -> str:
    """A page, fetched without the user's proxy. Raises OSError, ValueError."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=timeout_s) as answer:
            text: str = answer.read().decode()
    except http.client.HTTPException as error:
        raise OSError(f"{url} does not speak HTTP") from error
    return text
