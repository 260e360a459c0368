"""Whether the server's ports are free."""

from __future__ import annotations

from covey_server.installation.finding import Finding, Level
from covey_server.system import ports


def port(name: str, option: str, host: str, number: int) -> Finding:
    """Of one port, named by what it is for and by the option that changes it."""
    subject = f"port {number}"
    try:
        ports.require_free(f"{host}:{number}")
    except OSError as error:
        reason = error.strerror or str(error)
        return Finding(
            Level.WRONG,
            subject,
            f"for {name}, cannot be opened on {host}: {reason}",
            f"stop what listens there (ss -ltnp 'sport = :{number}' names it), or use {option}",
        )
    return Finding(Level.OK, subject, f"free, for {name}")
