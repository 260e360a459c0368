"""Keeps some of the images that callers send, to be looked at and learned from: a few at random, those that the model
is least sure of, and those to which the version in the shadow, or the one beside the canary, gives another class.

covey_proto.captures has the layout of the folder, which `covey label` fills in. Names begin with how sure the model
was, so that sorted by name the most doubtful come first.
"""

from __future__ import annotations

import io
import json
import logging
import os
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from covey_proto import atomic_files, captures
from covey_server.batching.batch import Batch
from covey_server.batching.output import Output
from covey_server.batching.request import Request
from covey_server.batching.worker import BatchObserver
from covey_server.config import Config
from covey_server.errors import InvalidConfiguration
from covey_server.inference.served_model import ServedModel
from covey_server.system.later import Later

log = logging.getLogger(__name__)

MAX_WAITING, MAX_WAITING_BYTES = 1024, 64 << 20
_LOG_S = 60.0  # between two lines about a folder that cannot be written


class CaptureCounter(Protocol):
    """Counts captures (the metrics do)."""

    def count_capture(self, model: ServedModel, result: str) -> None:
        """Why it was kept, or `dropped`: there was no time or room for it."""


class _Capture(NamedTuple):
    model: str
    version: int
    label: str
    probability: float
    reason: captures.Reason
    pixels: NDArray[np.uint8]  # [H, W, C]
    served: ServedModel


class Capturing:
    """Observes batches before another observer does. `work` is its thread: `start`, then `close` and `join`."""

    def __init__(self, observer: BatchObserver, counter: CaptureCounter, config: Config) -> None:
        """What is in the folder already counts towards the limits. Raises InvalidConfiguration where it cannot be
        written."""
        self._observer = observer
        self._counter = counter
        self._folder, self._rate, self._below = Path(config.capture), config.capture_rate, config.capture_below
        self._max_bytes, self._max_files = config.capture_max_bytes, config.capture_max_files
        self._random = random.Random()
        self._number = 0
        self._classes_of: dict[str, tuple[str, ...]] = {}  # what classes.json says, by model
        self._told_s = float("-inf")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self.files, self.bytes = _size_of(self._folder)
            probe = self._folder / f".covey-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise InvalidConfiguration(
                f"--capture {self._folder}: {error.strerror}; expected a folder that can be written"
            ) from error
        if self._is_full():
            log.warning("%s", self._full())
        self.work: Later[_Capture] = Later("capture", self._write, MAX_WAITING, MAX_WAITING_BYTES)

    def count_noted(self) -> None:
        """As the observer behind it."""
        self._observer.count_noted()

    def note_batch(self, batch: Batch, output: Output, answered: Sequence[Request]) -> None:
        """As the observer behind it; keeps some of the images."""
        chosen = self._choose(batch, output) if self._may_keep(batch.model) else {}
        if chosen:
            batch.captured = chosen  # before they are compared, so that none of them is kept twice
        self._observer.note_batch(batch, output, answered)
        if chosen:
            self._keep(batch.model, batch.images(), output.probabilities, chosen)

    def keep_differing(
        self, model: ServedModel, images: NDArray[np.uint8], probabilities: NDArray[np.float32], places: Sequence[int]
    ) -> None:
        """Keeps those of the images `[N, H, W, C]`, at `places`, to which a model and another version give different
        classes; `probabilities` `[N, K]` are the model's. To be called off the request path."""
        if places and self._may_keep(model):
            self._keep(model, images, probabilities, dict.fromkeys(places, "differs"))

    def _may_keep(self, model: ServedModel) -> bool:
        return not self._is_full() and model.answers_probabilities and model.input_shape[2] in (1, 3)

    def _choose(self, batch: Batch, output: Output) -> dict[int, captures.Reason]:
        largest = output.probabilities.max(axis=1)
        uncertain = largest < self._below  # False for NaN
        chosen: dict[int, captures.Reason] = {}
        if uncertain.any():
            chosen.update((int(place), "uncertain") for place in np.flatnonzero(uncertain))
        if self._rate > 0:
            for place in range(batch.size):
                if self._random.random() < self._rate and np.isfinite(largest[place]):
                    chosen.setdefault(place, "random")
        return chosen

    def _keep(
        self, model: ServedModel, images: NDArray[np.uint8], probabilities: NDArray[np.float32],
        chosen: dict[int, captures.Reason],
    ) -> None:  # fmt: skip
        best = probabilities.argmax(axis=1)
        for place, reason in chosen.items():
            probability = float(probabilities[place, best[place]])
            label = model.labels[int(best[place])]
            pixels = images[place].copy()
            capture = _Capture(model.name, model.version, label, probability, reason, pixels, model)
            if not self.work.put(capture, pixels.nbytes):
                self._counter.count_capture(model, "dropped")

    def _write(self, capture: _Capture) -> None:
        if self._is_full():
            self._counter.count_capture(capture.served, "dropped")
            return
        now_s = time.time()
        self._number += 1
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now_s))
        name = f"{capture.probability:.3f}-{stamp}-{os.getpid()}-{self._number}.png"
        folder = self._folder / capture.model / captures.folder_name(capture.label)
        try:
            data = _png(capture.pixels)
            atomic_files.write_bytes(folder / name, data, is_lasting=False)
            row = (
                f"{folder.name}/{name}", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now_s)), capture.version,
                capture.label, f"{capture.probability:.6f}", capture.reason,
            )  # fmt: skip
            _append(folder.parent / captures.CAPTURES, row)
            self._keep_classes(folder.parent, capture.served)
        except OSError as error:
            self._counter.count_capture(capture.served, "dropped")
            if now_s - self._told_s > _LOG_S:
                self._told_s = now_s
                log.error("a capture could not be written to %s: %s", folder, error.strerror or error)
            return
        self.files, self.bytes = self.files + 1, self.bytes + len(data)
        self._counter.count_capture(capture.served, capture.reason)
        if self._is_full():
            log.warning("%s", self._full())

    def _keep_classes(self, folder: Path, model: ServedModel) -> None:
        """Says which classes there are to choose from; a version may add some. Raises OSError."""
        if self._classes_of.get(model.name) == model.labels:
            return
        before = captures.read_classes(folder) if (folder / captures.CLASSES).exists() else ()
        labels = [*before, *(label for label in model.labels if label not in before)]
        atomic_files.write_text(folder / captures.CLASSES, json.dumps(labels, ensure_ascii=False), is_lasting=False)
        self._classes_of[model.name] = model.labels

    def _is_full(self) -> bool:
        return self.files >= self._max_files or self.bytes >= self._max_bytes

    def _full(self) -> str:
        return (
            f"nothing more is captured: {self._folder} holds {self.files:,} files of {self.bytes:,} bytes, at "
            f"most {self._max_files:,} of {self._max_bytes:,} are kept. Move them away and start "
            f"the server anew, or set --capture-max-bytes and --capture-max-files"
        )


def _size_of(folder: Path) -> tuple[int, int]:
    """How many captures there are, and their bytes. Raises OSError."""
    files = total = 0
    for path in folder.glob("*/*/*.png"):
        files += 1
        total += path.stat().st_size
    return files, total


def _png(pixels: NDArray[np.uint8]) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(data, "PNG")
    return data.getvalue()


def _append(path: Path, row: Sequence[object]) -> None:
    """Adds a row in one write, which several processes may do at once. Raises OSError."""
    line = captures.row(row)
    if not path.exists():
        line = captures.row(captures.CAPTURE_COLUMNS) + line
    with path.open("ab") as file:
        file.write(line)
