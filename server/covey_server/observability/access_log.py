"""The access log: a line for each call, or for some of them, at the logger `covey_server.access`."""

from __future__ import annotations

import logging

from covey_server.calls.record import Record
from covey_server.observability.log_lines import MEMBERS

log = logging.getLogger("covey_server.access")


def write(record: Record, trace_id: str = "") -> None:
    """Writes the line of a call: at level info if it was answered, warning if the caller's request could not be, error
    if the server failed."""
    level = logging.INFO if record.status == "OK" else logging.WARNING
    if record.status == "INTERNAL":
        level = logging.ERROR
    if not log.isEnabledFor(level):
        return
    log.log(level, "%s", _text(record, trace_id), extra={MEMBERS: _members(record, trace_id)})


def _members(record: Record, trace_id: str) -> dict[str, object]:
    """Those of JSON lines; what a call does not have is left out."""
    members: dict[str, object] = {
        "method": record.method,
        "status": record.status,
        "http_status": record.http,
        "peer": record.peer,
        "principal": record.principal,
        "request_id": record.request_id,
        "trace_id": trace_id,
        "model": record.model,
        "version": record.version,
        "images": record.images,
        "batch_size": record.batch_size,
        "request_bytes": record.request_bytes,
        "answer_bytes": record.answer_bytes,
        "error": record.message,
    }
    times = {f"{name}_ms": _ms(begin_ns, end_ns) for name, begin_ns, end_ns in record.parts}
    return {name: value for name, value in members.items() if value} | {"total_ms": _total_ms(record)} | times


def _total_ms(record: Record) -> float:
    return _ms(record.arrived_ns, record.ended_ns)


def _ms(begin_ns: int, end_ns: int) -> float:
    return round((end_ns - begin_ns) / 1e6, 3)


def _text(record: Record, trace_id: str) -> str:
    answer = f"{record.http} {record.status}" if record.http else record.status
    words = [_plain(each) for each in (record.peer, record.principal, record.method or "-") if each]
    words.append(answer)
    if record.model:
        words.append(f"{record.model}/{record.version} images={record.images}")
    words.append(f"{_total_ms(record):.3f} ms")
    if parts := record.parts:
        shown = ", ".join(f"{name} {_ms(begin_ns, end_ns):.3f}" for name, begin_ns, end_ns in parts)
        words.append(f"({shown}; batch of {record.batch_size})" if record.batch_size else f"({shown})")
    if record.request_id:
        words.append(f"id={_plain(record.request_id)}")
    if trace_id:
        words.append(f"trace={trace_id}")
    if record.message:
        words.append(f"- {_plain(record.message)}")
    return " ".join(words)


def _plain(text: str) -> str:
    """A caller's text without what could end the line or steer a terminal."""
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
