"""Workers on the nodes of a Ray cluster: a task for each chunk, of one CPU. Imports ray.

Tasks, not Ray Data: sources, order, parts and going on from them are there already, and Ray repeats the tasks of a node
that is lost.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # before ray is imported: Covey sends nothing anywhere
import ray
from ray import exceptions

from covey_proto import __version__
from covey_proto.wording import plural
from covey_server.errors import InvalidConfiguration
from covey_server.offline import ray_worker
from covey_server.offline.answers import Answers, ClassifyOptions, Facts
from covey_server.offline.chunk_pool import CHUNKS_PER_WORKER, ChunkPool, LostWorker
from covey_server.offline.chunks import Image
from covey_server.offline.errors import Stopped
from covey_server.offline.worker import Settings

_RETRIES = 5  # of a chunk whose node or process was lost: an image that kills every process must not do so for ever
_POLL_S = 0.2
_FETCH_S = 10.0  # much longer than an answer travels, since what has arrived by then is dropped
_CONNECT_S = 10.0
_COUNT_S = 5.0  # between two looks at how many nodes there are


class RayPool(ChunkPool):
    """See ChunkPool. Nodes may come and go meanwhile. The images of a chunk are held here until its answers are, so
    that no node has the only copy of anything."""

    reads_files = False

    def __init__(
        self, address: str, settings: Settings, max_decode_bytes: int, chunks: int, watch: Callable[[], None]
    ) -> None:
        """Connects to the cluster at `address` ("": RAY_ADDRESS, or the one on this machine). At most `chunks` are
        on their way; 0: three for each CPU. `watch` is called now and then while a caller waits; an exception that it
        raises ends the waiting. Raises InvalidConfiguration."""
        try:
            model = settings.model.read_bytes()
        except OSError as error:
            raise InvalidConfiguration(
                f"--model {settings.model}: cannot be read: {error.strerror or error}"
            ) from error
        _connect(address)
        self._watch = watch
        self._chunks = chunks
        self._count()
        if not self._cpus:
            self.close()
            raise InvalidConfiguration(
                "--engine ray: expected a cluster with at least one CPU for tasks, it has none; add a node, or start "
                "this one anew with --num-cpus"
            )
        self._setup = ray_worker.Setup(__version__, settings, max_decode_bytes, ray.put(model))
        as_task = ray.remote(num_cpus=1, max_retries=_RETRIES, scheduling_strategy="SPREAD")
        self._classify = as_task(ray_worker.classify)
        self._facts = as_task(ray_worker.facts).remote(self._setup)

    @property
    def description(self) -> str:
        return f"{plural(self._cpus, 'CPU')} of {plural(self._nodes, 'node')} by Ray"

    def close(self) -> None:
        ray.shutdown()  # the raylets end the worker processes of a driver that is gone

    def _load(self) -> Facts:
        facts: Facts = self._result(self._facts)
        return facts

    def _limit(self) -> int:
        if time.monotonic() - self._counted_s > _COUNT_S:
            self._count()
        return self._chunks or CHUNKS_PER_WORKER * max(1, self._cpus)

    def _submit(self, images: Sequence[Image], options: ClassifyOptions, batch_size: int) -> Callable[[], Answers]:
        held = ray.put(images)
        return partial(self._answers, self._classify.remote(self._setup, held, options, batch_size), held)

    def _answers(self, task: ray.ObjectRef, held: ray.ObjectRef) -> Answers:
        """Waits for a chunk's answers. `held` keeps its images in the object store until then, to be sent again."""
        answers: Answers = self._result(task)
        return answers

    def _result(self, task: ray.ObjectRef) -> Any:  # noqa: ANN401  # whatever the task returns
        while True:
            try:
                if ray.wait([task], timeout=_POLL_S, fetch_local=False)[0]:
                    return ray.get(task, timeout=_FETCH_S)
            except exceptions.GetTimeoutError:
                pass  # its node was lost with it, say, and it is computed again
            except exceptions.RayTaskError as error:
                cause = error.cause
                if isinstance(cause, exceptions.RayError | ImportError | RuntimeError):  # it did not even begin
                    raise Stopped(
                        f"a node cannot run Covey: {_first_line(cause)}. Expected covey-serve[cpu,ray] {__version__} "
                        f"on all nodes, for the same Python"
                    ) from error
                raise cause from error
            except exceptions.RayError as error:
                raise LostWorker(
                    f"Ray gave a task up: {_first_line(error)}",
                    f"After the loss of a node or a process, a chunk is tried {_RETRIES} times again. If memory is "
                    f"scarce, take fewer workers (--workers 1)",
                ) from error
            self._watch()

    def _count(self) -> None:
        alive = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
        self._cpus, self._nodes = int(sum(alive)), sum(cpus > 0 for cpus in alive)
        self._counted_s = time.monotonic()


def _connect(address: str) -> None:
    """Connects this process as a driver. Raises InvalidConfiguration."""
    address = address or os.environ.get("RAY_ADDRESS") or "auto"
    if address != "auto":
        _require_listening(address)
    of_this_process = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise InvalidConfiguration(
            f"--engine ray: no cluster to be used at {address}: {_first_line(error)}. Start one (ray start --head), or "
            f"name it: --ray-address HOST:PORT, or the variable RAY_ADDRESS; this machine has to be one of its nodes"
        ) from error
    finally:
        signal.signal(signal.SIGTERM, of_this_process)  # Ray has put its own there


def _require_listening(address: str) -> None:
    """Raises InvalidConfiguration if nothing listens at an address, for which Ray itself would wait for minutes."""
    if "://" in address:
        raise InvalidConfiguration(
            f"--engine ray: {address}: expected HOST:PORT; Ray's client (ray://) is not used. Run the command on a "
            f"machine of the cluster, or let this one join it: ray start --address=HOST:PORT --num-cpus=0"
        )
    host, _, port = address.rpartition(":")
    if not (host and port.isascii() and port.isdecimal()):
        raise InvalidConfiguration(f"--engine ray: {address}: expected HOST:PORT, such as 10.0.0.1:6379")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise InvalidConfiguration(
            f"--engine ray: {address}: no cluster answers there: {error}; start its head (ray start --head), or "
            f"correct the address"
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(". ")
