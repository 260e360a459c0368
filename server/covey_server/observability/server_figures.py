"""The figures of the whole server at one scrape: each is a gauge, or goes into a counter of the metrics."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from covey_server.errors import RefusalReason
from covey_server.inference.served_model import ServedModel
from covey_server.remote.sync import SyncFigures


def _gauge(text: str) -> Any:  # noqa: ANN401 - as dataclasses.field
    return field(metadata={"text": text})


@dataclass(frozen=True, kw_only=True)
class ServerFigures:
    """The figures of the whole server at one scrape. Each field with a text is shown as the gauge covey_NAME."""

    waiting_images: Mapping[ServedModel, int]
    refused: Mapping[RefusalReason, int]  # by fronts, before a protocol saw the call
    principals: Set[str]  # the names that the limits file has for them; none without such a file
    closed_connections: Mapping[Any, int]  # by reason
    sync: SyncFigures | None = None  # of the models' store; None: they lie in a folder
    certificate_expiry_timestamp_seconds: float | None = _gauge("When the served certificate expires.")  # None: none
    usable_cores: float = _gauge("Cores that the server may keep busy, by its affinity and its cgroups' quota.")
    calls_in_flight: int = _gauge("Calls inside the server.")
    bytes_in_flight: int = _gauge("Bytes of those calls, decoded images and unread answers too.")
    answer_bytes: int = _gauge("Bytes of answers that are not yet written to the network.")
    connections_open: int = _gauge("Connections to the gRPC port.")
    unfinished_bytes: int = _gauge("Bytes that came and belong to no call yet.")
    streams_open: int = _gauge("Streams that are open, each of many calls.")
    stream_bytes: int = _gauge("What they hold, from a request's reading to its answer.")
    decodes_in_flight: int = _gauge("Encoded images that wait or are being decoded.")
    decode_bytes: int = _gauge("Memory set aside for large images.")
    decodes_waiting: int = _gauge("Large images that wait for memory.")
    models_refused: int = _gauge("Versions in the folder whose file is missing or refused.")
    models_held_back: int = _gauge("Versions that are not the default one, since they are less accurate.")
    device_fallback: bool = _gauge("1 if CUDA was wanted and the CPU is used.")
    engine_stuck: int = _gauge("Batches that run for longer than they may.")
    ready: bool = _gauge("1 while the server takes requests.")
