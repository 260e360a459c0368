"""Whether the server's ports are free."""

from __future__ import annotations

import errno

from covey_server.installation.finding import Finding, Level
from covey_server.system import ports


def port(name: str, option: str, host: str, number: int, other: str = "") -> Finding:
    """Of one port, named by what it is for and by the option that changes it. `other` is what else is to have it."""
    subject = f"port {number}"
    if not number:
        return Finding(Level.OK, subject, f"any free one, for {name}")
    if other:
        return Finding(Level.WRONG, subject, f"for {name}, is to be that of {other} too", f"use another {option}")
    try:
        ports.require_free(f"{host}:{number}")
    except OSError as error:
        reason = error.strerror or str(error)
        advice = f"stop what listens there (ss -ltnp 'sport = :{number}' names it), or use {option}"
        if error.errno == errno.EACCES:
            advice = f"use {option} with a number from 1024 on"
        elif error.errno != errno.EADDRINUSE:
            setting = "--metrics-host (COVEY_METRICS_HOST)" if name == "metrics" else "--host (COVEY_HOST)"
            advice = f"use {setting} with an address of this machine, such as 127.0.0.1"
        return Finding(Level.WRONG, subject, f"for {name}, cannot be opened on {host}: {reason}", advice)
    return Finding(Level.OK, subject, f"free, for {name}")
