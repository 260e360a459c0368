"""What Prometheus gets of the edge: calls that it refused, by reason, and when its certificate expires."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from deploy.edge.settings import InvalidSetting

_MAX_LOG_BYTES = 1024**2  # then it is emptied
_REASONS = ("token", "certificate", "address", "room", "full", "message_size", "metadata", "compression", "protocol",
            "late", "unavailable")  # fmt: skip


class Figures:
    """Counts the lines of nginx's log of refused calls, each of which is a reason, and writes the page."""

    def __init__(self, log: Path, page: Path) -> None:
        self._log, self._page = log, page
        self._counts = Counter(dict.fromkeys(_REASONS, 0))
        self._offset = 0

    def write(self, expires_s: float) -> None:
        """Replaces the page in one step. `expires_s`: of the certificate that is served, from 1970 on."""
        self._count()
        lines = [
            "# HELP covey_refused_total Calls refused before they waited, by reason.",
            "# TYPE covey_refused_total counter",
            *(f'covey_refused_total{{reason="{reason}"}} {count}' for reason, count in self._counts.items()),
            "# HELP covey_certificate_expiry_timestamp_seconds When the served certificate expires.",
            "# TYPE covey_certificate_expiry_timestamp_seconds gauge",
            f"covey_certificate_expiry_timestamp_seconds {expires_s:.0f}",
        ]
        partial = self._page.with_suffix(".partial")
        partial.write_text("\n".join(lines) + "\n")
        partial.replace(self._page)

    def _count(self) -> None:
        try:
            with self._log.open("rb") as log:
                log.seek(self._offset)
                new = log.read()
        except FileNotFoundError:
            return
        whole = new[: new.rfind(b"\n") + 1]
        self._counts.update(reason for reason in whole.decode("ascii", "replace").split() if reason in _REASONS)
        self._offset += len(whole)
        if self._offset > _MAX_LOG_BYTES and whole == new:  # nginx appends, so it goes on at the beginning
            os.truncate(self._log, 0)
            self._offset = 0


def expiry_s(certificate: Path) -> float:
    """When the first certificate of a PEM file expires, in seconds from 1970 on. Raises InvalidSetting."""
    command = ["openssl", "x509", "-noout", "-enddate", "-dateopt", "iso_8601", "-in", str(certificate)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    name, _, date = done.stdout.strip().partition("=")
    if done.returncode or name != "notAfter":
        raise InvalidSetting(f"COVEY_EDGE_CERTIFICATE {certificate}: expected a certificate in PEM form "
                             f"({done.stderr.strip().splitlines()[:1]})")  # fmt: skip
    return datetime.strptime(date, "%Y-%m-%d %H:%M:%SZ").replace(tzinfo=UTC).timestamp()
