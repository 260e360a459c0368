"""By which names the server may be called: against DNS rebinding, where the owner of a page points the page's name to
this server's address, so that a browser takes the server for the page's own and lets it call and read.

A browser tells the name in Host, and no page can change that. Names that no stranger can point anywhere are always
answered: IP addresses, which load balancers and Kubernetes' probes use too, and names of the local network.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

from covey_server.calls.status import Status
from covey_server.errors import InvalidConfiguration

ANY = "*"
_LOCAL = re.compile(r"[^.]*|.+\.(localhost|internal)")  # no public name has one part only, or ends so
_HOST = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(:[0-9]*)?")
_NAME = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_INVALID = 3  # gRPC's INVALID_ARGUMENT
_MISDIRECTED = 421


class Hosts:
    """The names of `--allowed-host`."""

    def __init__(self, text: str, *, is_open: bool) -> None:
        """`is_open`: any name will do if none is given. Raises InvalidConfiguration unless it is a list such as
        "covey.example,*.covey.example", or *."""
        names = frozenset(each.strip().lower() for each in text.split(",") if each.strip())
        for name in names - {ANY}:
            if not _NAME.fullmatch(name):
                raise InvalidConfiguration(
                    f"--allowed-host {name!r}: expected names without port such as covey.example or *.covey.example, "
                    f"or * for any"
                )
        self._names = names
        self._is_any = ANY in names or (is_open and not names)
        self._is_known = lru_cache(256)(self._is_allowed)

    def check(self, host: bytes) -> Status | None:
        """What is wrong with the header Host of a request."""
        if self._is_any or self._is_known(host):
            return None
        shown = host[:200].decode("latin-1")
        return Status(
            _INVALID,
            f"the server was called by the name {shown!r} (Host); expected an IP address, localhost or one of "
            f"--allowed-host. If that is its name, start it with --allowed-host and this name",
            None,
            _MISDIRECTED,
        )

    def _is_allowed(self, host: bytes) -> bool:
        found = _HOST.fullmatch(host.decode("latin-1").lower())
        if found is None:
            return False
        name = found[1]
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            name = name.removesuffix(".")
        else:
            return True
        parents = (f"*.{parent}" for parent in _parents(name))
        return bool(_LOCAL.fullmatch(name)) or name in self._names or not self._names.isdisjoint(parents)


def _parents(name: str) -> list[str]:
    """Of "a.b.example": "b.example" and "example"."""
    parts = name.split(".")
    return [".".join(parts[count:]) for count in range(1, len(parts))]
