"""An imported model behind its original input: its own tensor, ready prepared, answered as the original file does.

It has a session of its own over the same weights, which costs memory, and so is started by the first request that needs
it. The check at load starts one too, for as long as it takes.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covey_proto import metadata
from covey_proto.v1.classifier_pb2 import ImageSpec, OriginalPath, Source
from covey_server.errors import EngineFailed, RefusedModel
from covey_server.inference import golden
from covey_server.inference.cost import CostModel
from covey_server.inference.devices import Device
from covey_server.inference.engine import Session, require_loadable
from covey_server.inference.golden import GoldenSet
from covey_server.inference.model_file import describe
from covey_server.inference.original_graph import rewired
from covey_server.inference.served_model import ServedModel
from covey_server.system.memory_limit import room
from covey_server.system.regular_files import open_regular

log = logging.getLogger(__name__)

_DTYPES: dict[str, np.dtype[Any]] = {"FP32": np.dtype("<f4"), "FP16": np.dtype("<f2"), "UINT8": np.dtype(np.uint8)}
_CHECKED_IMAGES = 4  # of the golden set
_COPIES = 1  # of the file in memory while it is loaded, beside what any model takes
Opened = Callable[[Exception | None], None]


class OriginalEngine:
    """Runs the original's own input, given as bytes. Safe from any thread."""

    def __init__(
        self, file: Path, said: OriginalPath, source: Source, spec: ImageSpec, device: Device, threads: int
    ) -> None:
        """Raises RefusedModel, OSError."""
        with open_regular(file) as (descriptor, self._size_bytes):
            # Kept open, so that what is loaded later is the file that was checked, whatever lies in its place then.
            self._descriptor = os.dup(descriptor)
        weakref.finalize(self, os.close, self._descriptor)
        self.device = device
        self.threads = threads
        self.dtype, self.output_dtype = _dtype(source.input_datatype), _dtype(said.output_datatype)
        self.output_datatype, self.output_shape = said.output_datatype, tuple(said.output_shape)
        sizes = (spec.height, spec.width, spec.channels)
        self._is_planar = source.input_layout == "NCHW"
        self.shape = (sizes[2], *sizes[:2]) if self._is_planar else sizes
        self._file = file
        self._said = said
        self._spec = spec
        self._group = source.max_batch or 1
        self._session: Session | None = None
        self._first: GoldenSet | None = None  # of the golden set, for sessions that are started later
        self._lock = threading.Lock()
        self._waiting: list[Opened] = []

    @property
    def is_open(self) -> bool:
        """Whether its session is there."""
        return self._session is not None

    def check(self, found: GoldenSet) -> None:
        """Starts a session for the golden check, and ends it. A few images are enough: the weights are those that all
        were checked with. Raises RefusedModel, EngineFailed."""
        golden.check(_Golden(self, self._start()), _some(found, _CHECKED_IMAGES))
        self._first = _some(found, 1)

    def when_open(self, go: Opened) -> None:
        """Calls `go` once the session is there, or with the error if it cannot be started: at once or, where it has to
        be started first, from a thread that does so."""
        with self._lock:
            is_open, is_first = self.is_open, not self._waiting
            if not is_open:
                self._waiting.append(go)
        if is_open:
            go(None)
        elif is_first:
            try:
                threading.Thread(target=self._open, name="original-input", daemon=True).start()
            except RuntimeError as error:  # no more threads
                self._tell(EngineFailed(f"the model cannot be loaded for its original input: {error}"))

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The original's output `[N, K] float32` of its input as bytes, `[N, ...] uint8`. Raises EngineFailed."""
        if self._session is None:
            raise EngineFailed("the session of the original input is not started; this is a bug")
        return self._run(self._session, images.reshape(len(images), -1).view(self.dtype))

    def _open(self) -> None:
        error: Exception | None = None
        session = None
        try:
            session = self._start()
            if self._first is not None:
                golden.check(_Golden(self, session), self._first)
        except Exception as failed:  # noqa: BLE001 - those who wait are told
            error = EngineFailed(f"the model cannot be loaded for its original input: {failed}")
        self._tell(error, session)

    def _tell(self, error: Exception | None, session: Session | None = None) -> None:
        with self._lock:
            self._session = session if error is None else None
            waiting, self._waiting = self._waiting, []
        for go in waiting:
            go(error)

    def _start(self) -> Session:
        require_loadable(self._file, self._size_bytes, room() if self._size_bytes > 64 << 20 else None, _COPIES)
        with rewired(self._descriptor, self._size_bytes, self._said) as model:
            return Session(model, self.device, self.threads)

    def _run(self, session: Session, values: NDArray[Any]) -> NDArray[np.float32]:
        count = len(values)
        if missing := -count % self._group:  # such a graph takes groups of fixed size
            values = np.concatenate([values, np.zeros((missing, values.shape[1]), values.dtype)])
        # The bytes lie anywhere in a message; onnxruntime reads numbers where numbers may lie.
        found = session.run(np.require(values, requirements=("A", "C")).reshape(-1, *self.shape))[:count]
        columns = int(np.prod(self.output_shape))
        if found.shape[0] != count or found.size != count * columns:
            raise EngineFailed(f"the model answered {found.shape} for a batch of {count}")
        return found.reshape(count, columns).astype(np.float32, copy=False)

    def prepared(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """`[N, H, W, C] uint8` as its own users prepare it, `[N, ...]`."""
        spec = self._spec
        values: NDArray[Any] = pixels[..., ::-1] if spec.colour_order == "bgr" else pixels
        if self.dtype != np.uint8:
            mean, std = (np.array(each or default, np.float64) for each, default in ((spec.mean, [0]), (spec.std, [1])))
            if spec.colour_order == "bgr":
                mean, std = mean[::-1], std[::-1]
            values = (values / 255 - mean) / std
        if self._is_planar:
            values = values.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(values, self.dtype)

    def probabilities(self, session: Session, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Those that the served graph gives: of the prepared input, by the activation that is behind it there."""
        rows = self._run(session, self.prepared(pixels).reshape(len(pixels), -1)).astype(np.float64)
        match self._said.activation:
            case "softmax":
                powers = np.exp(rows - rows.max(axis=1, keepdims=True))
                rows = powers / powers.sum(axis=1, keepdims=True)
            case "sigmoid":
                rows = 1 / (1 + np.exp(-rows.clip(-700, 700)))
            case "exp":
                rows = np.exp(rows)
            case "none":
                pass
            case other:
                raise RefusedModel(f"activation {other!r} is not known here; the model needs a newer server")
        if rows.shape[1] == 1:
            rows = np.concatenate([1 - rows, rows], axis=1)
        return rows.astype(np.float32)


class _Golden:
    """An original engine and a session, as the golden check runs them."""

    def __init__(self, engine: OriginalEngine, session: Session) -> None:
        self._engine = engine
        self._session = session

    def run(self, images: NDArray[np.uint8], /) -> NDArray[np.float32]:
        return self._engine.probabilities(self._session, images)


class OriginalInput(ServedModel):
    """To queues and protocols a model of its own, whose images are its input's bytes; its name, version and labels are
    those of the model."""

    answers_probabilities = False
    engine: OriginalEngine  # type: ignore[assignment]  # it has what ServedModel uses of one

    def __init__(self, model: ServedModel, engine: OriginalEngine) -> None:
        """Its runs take as long as the model's own, nearly all of which is the network."""
        self.name, self.version = model.name, model.version
        self.labels, self.thresholds, self.info = model.labels, model.thresholds, model.info
        self.known_from = None  # its outputs are the original's own
        self.engine = engine
        self.cost = CostModel(model.cost.measured)
        self.image_bytes = int(np.prod(engine.shape)) * engine.dtype.itemsize
        self.input_shape = (1, 1, self.image_bytes)
        self.prepared = {}
        source = model.info.source
        self.input_name, self.input_datatype = source.input_name, source.input_datatype
        self.output_name, self.output_datatype = source.output_name, engine.output_datatype
        # One output, a probability or its logit, is that of the second of two classes.
        columns = int(np.prod(engine.output_shape))
        self.output_labels = self.labels[1:] if columns == 1 else self.labels


def load(model: ServedModel, file: Path) -> OriginalInput | None:
    """The original input of a model, checked; None if its file tells of none, or if there is no room to check it: the
    model is served without. Raises RefusedModel, EngineFailed."""
    text = model.engine.metadata.get(metadata.ORIGINAL_PATH_KEY)
    if text is None:
        return None
    try:
        said = metadata.original_path_from_json(text)
    except ValueError as error:
        raise RefusedModel(f"metadata {metadata.ORIGINAL_PATH_KEY}: {error}") from error
    info = model.info
    try:
        engine = OriginalEngine(file, said, info.source, info.input, model.engine.device, model.engine.threads)
        engine.check(describe(model.engine).golden)
    except RefusedModel as error:
        if isinstance(error.__cause__, OSError):
            log.warning("model %s version %d: its original input is not offered: %s", model.name, model.version, error)
            return None
        raise RefusedModel(f"original input {info.source.input_name!r}: {error}. Import the model again") from error
    except OSError as error:
        raise RefusedModel(f"original input {info.source.input_name!r}: {error.strerror or error}") from error
    return OriginalInput(model, engine)


def _some(found: GoldenSet, count: int) -> GoldenSet:
    return dataclasses.replace(
        found, pixels=found.pixels[:count].copy(), probabilities=found.probabilities[:count].copy()
    )


def _dtype(name: str) -> np.dtype[Any]:
    try:
        return _DTYPES[name]
    except KeyError:
        raise RefusedModel(f"a tensor of {name or 'no datatype'}; expected one of {', '.join(_DTYPES)}") from None
