"""Loads a model's file: described, checked and measured, its original input included."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from covey_server.inference import original_input
from covey_server.inference.devices import Device
from covey_server.inference.engine import Engine
from covey_server.inference.model_file import other_name
from covey_server.inference.served_model import ServedModel
from covey_server.system.process_memory import resident_bytes

log = logging.getLogger(__name__)


class ModelLoader:
    """Loads a file as a ServedModel."""

    def __init__(
        self,
        device: Device,
        threads: int,
        max_batch_size: int,
        prepare: Sequence[Callable[[ServedModel], object]] = (),
    ) -> None:
        """`prepare` has a function of each protocol; its result is kept in the model's `prepared`, by its type. It must
        not refer to the model, which then would be part of a reference cycle."""
        self._device = device
        self._threads = threads
        self._max_batch_size = max_batch_size
        self._prepare = prepare

    def __call__(self, name: str, version: int, path: Path) -> ServedModel:
        """Raises RefusedModel if the file cannot be served or must not be, EngineFailed, DeviceUnavailable."""
        began, before_bytes = time.monotonic(), resident_bytes()
        model = ServedModel(name, version, Engine(path, self._device, self._threads), self._max_batch_size)
        if said := other_name(model.info, name, version):
            log.warning(
                "model %s version %d: its file says that it is %s; it is served by the names of its folders",
                name, version, said,
            )  # fmt: skip
        model.original = original_input.load(model, path)
        for prepare in self._prepare:
            made = prepare(model)
            model.prepared[type(made)] = made
        model.load_s = time.monotonic() - began
        model.memory_bytes = max(0, resident_bytes() - before_bytes)
        return model
