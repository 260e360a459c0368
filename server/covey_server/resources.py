"""What a server has before it takes calls: a device, the models loaded on it, and memory that is left for calls."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from covey_server.config import Config
from covey_server.inference import devices, engine
from covey_server.inference.devices import Device
from covey_server.inference.model_loader import ModelLoader
from covey_server.models.loading import RepositoryObserver
from covey_server.models.repository import Repository
from covey_server.models.version_policy import VersionPolicy
from covey_server.protocols.classifier.responses import ResponseWriter
from covey_server.protocols.open_inference.outputs import OutputWriter
from covey_server.system import memory_limit

if TYPE_CHECKING:
    from covey_server.remote.mirror import Mirror

log = logging.getLogger(__name__)

_MIN_CALL_BYTES = 16 << 20  # for calls, however little memory there is


def open_repository(config: Config, observer: RepositoryObserver) -> tuple[Device, Repository, Mirror | None]:
    """The device the settings ask for, the models loaded on it, and what keeps their folder equal to a store, already
    started; None if they lie in a folder. Raises StartupError."""
    policy = VersionPolicy.parse(config.version_policy)
    devices.refuse_mixed_installation()
    device = devices.choose(config.device, engine.available_providers(), engine.probe)
    log.info("device %s", device.name)
    if device.fallback:
        log.warning("running on %s in place of CUDA: %s", device.name, device.fallback)
    load_model = ModelLoader(device, config.threads, config.max_batch_size, (ResponseWriter.of, OutputWriter.of))
    mirror = _start_mirror(config) if config.models_are_remote else None
    repository = Repository(
        Path(config.models) if mirror is None else mirror.folder, load_model, policy, observer, config.accuracy_limit
    )
    try:
        repository.load(config.default_model)
    except BaseException:
        if mirror is not None:
            mirror.stop(0)
        raise
    return device, repository, mirror


def _start_mirror(config: Config) -> Mirror:
    from covey_server.remote.address import Address
    from covey_server.remote.mirror import Mirror

    address = Address.parse(str(config.models))
    mirror = Mirror(address, address.cache_folder(config.model_cache, os.environ), config.sync_interval_s)
    mirror.start()
    return mirror


def within_memory(config: Config) -> Config:
    """The configuration with `max_bytes` cut to a quarter of the memory that is left: beyond that a container's limit
    could end the process before the server's own limit is reached."""
    room = memory_limit.room()
    if room is None or config.max_bytes <= (limit := max(_MIN_CALL_BYTES, room.free_bytes // 4) // config.processes):
        return config
    log.warning(
        "--max-bytes is %.0f MiB, not %.0f: a quarter of what %s leaves%s; give the server more memory, or a lower "
        "limit",
        limit / 2**20, config.max_bytes / 2**20, room.source,
        f", divided by {config.processes} processes" if config.processes > 1 else "",
    )  # fmt: skip
    return replace(config, max_bytes=limit)
