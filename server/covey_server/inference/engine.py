"""The engine: the onnxruntime session of one model, with its provider and its threads.

The only module of the server that imports onnxruntime. Knows nothing of requests, queues or versions.
"""

from __future__ import annotations

import base64
import errno
import os
import sys
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from covey_proto import tensors
from covey_server.errors import DeviceUnavailable, EngineFailed, RefusedModel
from covey_server.inference import import_hint
from covey_server.inference.devices import CPU, Device
from covey_server.system.memory_limit import Room, room
from covey_server.system.regular_files import open_regular

# Since 1.29 onnxruntime's wheels send telemetry unless this is set before they are imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

MAX_FILE_BYTES = 2**31 - 1

# Times a file's size that loading takes at its peak: the content as onnxruntime reads it, and the session's own copy.
# Measured: 2.07 (files of 128 MB to 1 GB, float32). Small files are loaded without a check.
_PEAK_FACTOR = 2.1
_SMALL_BYTES = 64 * 2**20
_STEP_BYTES = 256 * 2**20

_LOG_ERRORS_ONLY = 3
_ONNX_BEGINS = b"\x08"  # the tag of ir_version, which exporters write first
_BOTH = [tensors.PROBABILITIES, tensors.EMBEDDING]
# The smallest model there is: y = Identity(x), float32 [1]. Made with onnx.helper, opset 18.
_IDENTITY = base64.b64decode("CAg6NwoQCgF4EgF5IghJZGVudGl0eRIBZ1oPCgF4EgoKCAgBEgQKAggBYg8KAXkSCgoICAESBAoCCAFCBAoAEBI=")


class FileState(NamedTuple):
    """Tells whether a file is still the one that was loaded."""

    device: int
    inode: int
    size_bytes: int
    modified_ns: int

    @classmethod
    def of(cls, descriptor: int) -> FileState:
        """The state of an open file."""
        found = os.fstat(descriptor)
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


class Engine:
    """One model, ready to run on one device from any number of threads at once."""

    def __init__(self, path: Path, device: Device = CPU, threads: int = 1) -> None:
        """Loads the model. Raises RefusedModel if the file is no such model as Covey serves
        (`images: uint8 [N, H, W, C]` -> `probabilities: float32 [N, K]` and, where it has one, `embedding: float32
        [N, D]`), DeviceUnavailable if the device cannot run it.
        """
        self.path = path
        self.device = device
        self.threads = threads
        try:
            with open_regular(path) as (descriptor, size_bytes):
                self.file = FileState.of(descriptor)
                require_loadable(path, size_bytes, room() if size_bytes > _SMALL_BYTES else None)
                self._session = _load(path, descriptor, device, threads)
        except OSError as error:
            raise RefusedModel(f"{path}: cannot be read: {error.strerror or error}") from error
        self.metadata: Mapping[str, str] = _metadata(self._session, path)
        # Of the embedding D is told, 0: the file has none.
        self.input_shape, self.classes, self.embedding_size = _check_contract(self._session, path)

    def keep_file(self) -> None:
        """Holds the file open for as long as this engine lives, so that its layers can be explained also when it is
        gone from its folder. Call it before that. Raises OSError."""
        with open_regular(self.path) as (descriptor, _):
            kept = os.dup(descriptor)
        weakref.finalize(self, os.close, kept)
        self.path = Path(f"/dev/fd/{kept}")

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities `[N, K] float32` of images `[N, H, W, C] uint8`. Raises EngineFailed."""
        try:
            probabilities: NDArray[np.float32] = self._session.run([tensors.PROBABILITIES], {tensors.IMAGES: images})[0]
        except Exception as error:
            raise EngineFailed(f"onnxruntime failed on a batch of {len(images)}: {_first_line(error)}") from error
        if probabilities.shape != (len(images), self.classes):
            raise EngineFailed(f"the model answered {probabilities.shape} for a batch of {len(images)}")
        return probabilities

    def run_with_embedding(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Probabilities `[N, K]` and embeddings `[N, D]`, both float32, of a file that has both. Raises
        EngineFailed."""
        try:
            probabilities, embedding = self._session.run(_BOTH, {tensors.IMAGES: images})
        except Exception as error:
            raise EngineFailed(f"onnxruntime failed on a batch of {len(images)}: {_first_line(error)}") from error
        shapes = (len(images), self.classes), (len(images), self.embedding_size)
        if (probabilities.shape, embedding.shape) != shapes:
            raise EngineFailed(
                f"the model answered {probabilities.shape} and {embedding.shape} for a batch of {len(images)}"
            )
        return probabilities, embedding


class Session:
    """Any model of one input, ready to run on one device from any number of threads at once."""

    def __init__(self, model: bytes | str, device: Device, threads: int, *, keeps_memory: bool = True) -> None:
        """`model` is its file's bytes or path. With `keeps_memory` what a run took is kept for the next one. Raises
        RefusedModel, DeviceUnavailable."""
        try:
            self._session = _start_session(model, device, threads, keeps_memory=keeps_memory)
        except DeviceUnavailable:
            raise
        except Exception as error:
            raise RefusedModel(f"onnxruntime cannot load it: {_first_line(error)}") from error
        (entry,) = self._session.get_inputs()
        self._input = entry.name
        # Each output's shape, as far as it is known: a number, a name or None for each axis.
        self.output_shapes: dict[str, list[int | str | None]] = {
            each.name: each.shape for each in self._session.get_outputs()
        }
        self._first = next(iter(self.output_shapes))

    def run(self, values: NDArray[Any]) -> NDArray[Any]:
        """The first output. Raises EngineFailed."""
        return self.run_outputs(values, [self._first])[0]

    def run_outputs(self, values: NDArray[Any], names: list[str]) -> list[NDArray[Any]]:
        """The outputs of these names. Raises EngineFailed."""
        try:
            found: list[NDArray[Any]] = self._session.run(names, {self._input: values})
        except Exception as error:
            raise EngineFailed(f"onnxruntime failed on a batch of {len(values)}: {_first_line(error)}") from error
        return found


def require_loadable(path: Path, size_bytes: int, left: Room | None, copies: int = 0) -> None:
    """Raises RefusedModel for a file that is too large for its format, or for the memory that is `left` (None: not
    known), `copies` of the file beside the model included. In the second case its cause is an OSError, since it may be
    loaded later."""
    if size_bytes > MAX_FILE_BYTES:
        raise RefusedModel(
            f"{path}: has {size_bytes:,} bytes; an ONNX file, which is one protobuf message, has at most "
            f"{MAX_FILE_BYTES:,}. Convert a smaller network"
        )
    needed = int(size_bytes * (_PEAK_FACTOR + copies))
    if left is not None and needed > left.free_bytes + left.cached_bytes:
        # In coarse steps, so that repeated refusals have the same text and are reported once.
        steps = (left.free_bytes + left.cached_bytes) // _STEP_BYTES + 1
        raise RefusedModel(
            f"{path}: loading its {size_bytes:,} bytes takes about {needed / 2**20:,.0f} MiB of memory, and less than "
            f"{steps * _STEP_BYTES // 2**20:,} MiB are free here; give the server more, or serve fewer models. It is "
            f"tried again as soon as there is room"
        ) from OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))


def available_providers() -> list[str]:
    """The execution providers in this build of onnxruntime, whether they work here or not."""
    return list(onnxruntime.get_available_providers())


def probe(device: Device) -> None:
    """Raises DeviceUnavailable if no session runs on the device."""
    try:
        session = _start_session(_IDENTITY, device, threads=1)
        session.run(None, {"x": np.zeros(1, np.float32)})
    except DeviceUnavailable:
        raise
    except Exception as error:
        raise DeviceUnavailable(f"device {device.name}: {_first_line(error)}") from error


def _load(path: Path, descriptor: int, device: Device, threads: int) -> onnxruntime.InferenceSession:
    """Starts a session by path: then onnxruntime neither holds the interpreter's lock nor has the file in memory twice.

    A model of 600 MB stopped all Python threads for 429 ms as bytes and for 38 ms by path, with a peak of 1,851 and
    1,251 MB (2 shared AMD EPYC cores, 2026-11-29).

    The path is that of the open descriptor, so what is loaded is the file that was checked. In /proc/self/fd there are
    no other files of the model, and onnxruntime follows no external data out of that folder (tried with 1.24 and 1.31):
    a model that needs some is refused."""
    name = f"/proc/self/fd/{descriptor}" if sys.platform == "linux" else str(path)
    try:
        return _start_session(name, device, threads)
    except DeviceUnavailable:
        raise
    except Exception as error:
        reason = _first_line(error).replace(f"Load model from {name} failed:", "").rstrip(". ")
        if "xternal data" in reason or "filesystem error" in reason:
            reason += (
                ". Its weights may lie in another file: expected one file that holds them all; save it again without "
                f"external data, or import it: {import_hint.command(path)}"
            )
        elif "protobuf" in reason.lower():
            reason += f". Expected an ONNX file; {_what_it_is(path, descriptor)}"
        raise RefusedModel(f"{path}: onnxruntime cannot load it: {reason}") from error


def _metadata(session: onnxruntime.InferenceSession, path: Path) -> dict[str, str]:
    try:
        found: dict[str, str] = session.get_modelmeta().custom_metadata_map
    except UnicodeDecodeError as error:
        raise RefusedModel(
            f"{path}: expected metadata in UTF-8, found byte {error.object[error.start]:#04x} at {error.start:,} of an "
            "entry: the file is damaged. Copy it again, or convert it again"
        ) from error
    return found


def _what_it_is(path: Path, descriptor: int) -> str:
    """Of a file that is no whole ONNX file: what is known of it, and what to do."""
    size_bytes, first = os.fstat(descriptor).st_size, os.pread(descriptor, 1, 0)
    if not size_bytes:
        return "it is empty. Copy it again"
    if first == _ONNX_BEGINS:
        return f"its {size_bytes:,} bytes begin as one: it is truncated or damaged. Copy it again, or convert it again"
    return f"its bytes are something else. What they are says {import_hint.command(path)}"


def _start_session(
    model: bytes | str, device: Device, threads: int, *, keeps_memory: bool = True
) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.enable_cpu_mem_arena = keeps_memory
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _LOG_ERRORS_ONLY
    # Threads that spin between runs would take the cores from those that serve requests.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if device.is_cuda and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    session = onnxruntime.InferenceSession(
        model, options, providers=[(device.provider, device.options)], enable_fallback=0
    )
    session.disable_fallback()
    if session.get_providers()[0] != device.provider:
        raise DeviceUnavailable(
            f"device {device.name}: onnxruntime gave {session.get_providers()[0]} in place of {device.provider}; "
            f"check the driver and the CUDA and cuDNN libraries, or use --device cpu"
        )
    return session


def _check_contract(session: onnxruntime.InferenceSession, path: Path) -> tuple[tuple[int, int, int], int, int]:
    """The input's (H, W, C), the number of classes, and the size of the embedding, 0 of a file that has none. Raises
    RefusedModel for other inputs or outputs."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    match [(node.name, node.type, node.shape) for node in [*inputs, *outputs]]:
        case [
            (tensors.IMAGES, "tensor(uint8)", [str() | None, int(height), int(width), 1 | 3 as channels]),
            (tensors.PROBABILITIES, "tensor(float)", [str() | None, int(classes)]),
            *more,
        ]:
            match more:
                case []:
                    return (height, width, channels), classes, 0
                case [(tensors.EMBEDDING, "tensor(float)", [str() | None, int(size)])]:
                    return (height, width, channels), classes, size
    found = ", ".join(f"{node.name}: {node.type} {node.shape}" for node in [*inputs, *outputs])
    raise RefusedModel(
        f"{path}: expected images: tensor(uint8) [N, H, W, 1 or 3] -> probabilities: tensor(float) [N, K] with N "
        f"dynamic, and at the most embedding: tensor(float) [N, D] beside it, found {found}: Covey did not make it. To "
        f"serve a classifier of your own: {import_hint.command(path)}"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
