"""A server under mixed calls, over gRPC and HTTP, with reloads and a model that fails for some inputs."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.processes import Server, covey_server, fetch, free_port
from bench.publishing import publish, wait_until_served
from prometheus_client.parser import text_string_to_metric_families
from tests.conftest import echo_model
from tests.identity.callers import BROKEN, CLASSES, Caller, Score
from tests.identity.http_callers import HttpCaller

_KINDS = ("single", "single", "many", "hurried", "leaving", "files", "broken", "broken", "stream", "stream")
_HTTP_KINDS = ("http", "http", "http ahead", "http files", "http leaving")
_GAUGES = ("calls_in_flight", "bytes_in_flight", "decodes_in_flight", "unfinished_bytes")
_RELOAD_EVERY_S = 0.5
_GIVE_UP_S = 60.0
_FLAGS = ("--reload-interval-s", "0.05")


def write_model(path: Path) -> Path:
    """The model that answers with its pixels and fails for some; answers the path."""
    path.parent.mkdir(parents=True)
    labels = [f"class {index}" for index in range(CLASSES)]
    path.write_bytes(echo_model((4, 4, 1), labels, fails_at=BROKEN).SerializeToString())
    return path


def campaign(
    folder: Path,
    front: str,
    seconds: float,
    seed: int,
    processes: int = 1,
    is_enough: Callable[[Score], bool] = lambda score: True,
) -> tuple[Score, int]:
    """Runs one on a server of so many processes, for so long and until it is enough, a minute longer at most; what
    became of all requests, and how many versions were published meanwhile. What the server still holds when all have
    gone is a fault too. Its log is `folder`/log."""
    score, ended = Score(), threading.Event()
    file = write_model(folder / "models/echo/1/model.onnx")
    http_port = free_port()
    flags = (*_FLAGS, "--http-port", str(http_port), "--processes", str(processes))
    with covey_server(folder / "models", front, folder / "log", flags) as server:
        callers: list[Caller | HttpCaller] = [
            Caller(server.target, kind, seed + place, score, ended) for place, kind in enumerate(_KINDS)
        ]
        callers += [HttpCaller(http_port, kind, seed - place, score, ended) for place, kind in enumerate(_HTTP_KINDS)]
        with ThreadPoolExecutor(len(callers)) as pool:
            running = [pool.submit(caller.run) for caller in callers]
            try:
                version, until = 1, time.monotonic() + seconds
                while (left_s := until - time.monotonic()) > 0 or (left_s > -_GIVE_UP_S and not is_enough(score)):
                    time.sleep(min(_RELOAD_EVERY_S, left_s) if left_s > 0 else _RELOAD_EVERY_S)
                    old = file.parent
                    publish(file, old.parent, version + 1)
                    wait_until_served(server, "echo", version + 1)
                    version += 1
                    file = old.parent / str(version) / "model.onnx"
                    shutil.rmtree(old)
            finally:
                ended.set()
            for each in running:
                each.result()
        for _ in range(int(_GIVE_UP_S / _RELOAD_EVERY_S)):
            if not (held := _held(server)):
                break
            time.sleep(_RELOAD_EVERY_S)
    for name in held:
        score.note_fault("innocent", f"{name} stays above 0 when everybody has gone")
    return score, version - 1


def _held(server: Server) -> list[str]:
    """Gauges of what is inside the server that are not 0."""
    assert server.metrics_url is not None
    families = {each.name: each for each in text_string_to_metric_families(fetch(server.metrics_url))}
    return [name for name in _GAUGES if any(sample.value for sample in families[f"covey_{name}"].samples)]
