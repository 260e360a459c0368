"""What a worker process of Ray runs, on whichever node: the worker that runs without Ray too, from what the driver
sends. Imports ray."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import ray

from covey_proto import __version__
from covey_server.errors import DeviceUnavailable, EngineFailed, RefusedModel
from covey_server.images import decode_budget
from covey_server.inference import devices
from covey_server.offline.answers import Answers, ClassifyOptions, Facts
from covey_server.offline.chunks import Image
from covey_server.offline.errors import Stopped
from covey_server.offline.worker import Settings, Worker
from covey_server.system import memory

T = TypeVar("T")


@dataclass(frozen=True)
class Setup:
    """What the driver sends with each chunk. In `settings`, the model's path and the memory for decoding are the
    driver's; in their place a node uses `model`, and its share of `max_decode_bytes` (0: half of its free memory) for
    each of its cores."""

    covey_version: str
    settings: Settings
    max_decode_bytes: int
    model: ray.ObjectRef  # to the bytes of the file, which each process fetches once


_worker: Worker | None = None  # a process of Ray's works for one driver only, and so for one run


def facts(setup: Setup) -> Facts:
    """Loads the model, and measures it. Raises as `Worker.facts`, and Stopped."""
    return _start(setup, Worker.facts)


def classify(setup: Setup, images: Sequence[Image], options: ClassifyOptions, batch_size: int) -> Answers:
    """The answers for a chunk, whose images have no paths: files are read by the driver. Raises EngineFailed,
    Stopped."""
    if _worker is None:
        try:
            _start(setup, Worker.load)
        except (RefusedModel, EngineFailed, DeviceUnavailable) as error:  # the node that measured it did not
            raise Stopped(
                f"node {socket.gethostname()} refuses the model: {error}. Another node took it; install the same "
                f"packages on both, or remove this one from the cluster"
            ) from error
    assert _worker is not None
    return _worker.classify(images, options, batch_size)


def _start(setup: Setup, load: Callable[[Worker], T]) -> T:
    """Makes this process's worker and loads its model by `load`, whose result it gives."""
    global _worker
    if setup.covey_version != __version__:
        raise Stopped(
            f"node {socket.gethostname()} has Covey {__version__}, the driver {setup.covey_version}; expected the same "
            f"on all nodes: pip install 'covey-serve[cpu,ray]=={setup.covey_version}' on that one"
        )
    memory.bound_freed_memory()
    decode_bytes = decode_budget.limit(setup.max_decode_bytes).free_bytes // devices.usable_cores()
    with tempfile.TemporaryDirectory(prefix="covey-batch-") as folder:
        model = Path(folder, setup.settings.model.name)
        model.write_bytes(ray.get(setup.model))
        worker = Worker(
            replace(setup.settings, model=model, threads=1, decode_bytes=decode_bytes), is_stopping=lambda: False
        )
        try:
            result = load(worker)
        except RefusedModel as error:  # which is to name the file that the user named
            raise RefusedModel(str(error).replace(str(model), str(setup.settings.model))) from error
    _worker = worker
    return result
