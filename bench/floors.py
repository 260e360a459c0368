"""Owns the floors of one scenario over its rounds: what the work costs without a server."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from bench.raw_onnxruntime import BATCH_SIZES, RawOnnxruntime
from bench.rows import Row, make_row
from covey_proto import metadata
from covey_server.images.pixels import decode
from covey_server.inference import image_contract


class OnnxruntimeCurve:
    """CPU time per image of onnxruntime alone, by batch size; one value per round."""

    def __init__(self, model: Path, batch_sizes: Sequence[int] = BATCH_SIZES) -> None:
        self.raw = RawOnnxruntime(model)
        self._values: dict[int, list[float]] = {size: [] for size in batch_sizes}

    def measure(self) -> None:
        """Measures the values of this round."""
        for size, values in self._values.items():
            values.append(self.raw.cpu_us_per_image(size))

    @property
    def best_size(self) -> int:
        """The batch size at which an image costs least."""
        return min(self._values, key=lambda size: statistics.median(self._values[size]))

    @property
    def best(self) -> list[float]:
        """Microseconds per image at the best batch size, by round."""
        return self._values[self.best_size]

    @property
    def single(self) -> list[float]:
        """Microseconds of one image alone, by round."""
        return self._values[1]

    def rows(self, model: str) -> list[Row]:
        """The whole curve."""
        return [
            make_row(f"floor: onnxruntime alone, {model}", f"CPU, batch {size}", "us/image", values)
            for size, values in self._values.items()
        ]


class DecodeFloor:
    """CPU time to decode an encoded image and bring it to a model's size, by the server's own function."""

    def __init__(self, files: Sequence[bytes], model: RawOnnxruntime) -> None:
        """For the input that the model's file describes."""
        input_info = metadata.from_json(model.metadata[metadata.KEY]).input
        self._files = files
        self._spec = image_contract.read(input_info)
        self.values: list[float] = []  # microseconds per image, by round
        decode(files[0], self._spec)

    def measure(self) -> None:
        """Measures this round's value: each file once."""
        start = time.thread_time_ns()
        for file in self._files:
            decode(file, self._spec)
        self.values.append((time.thread_time_ns() - start) / 1000 / len(self._files))


def added(*floors: Sequence[float]) -> list[float]:
    """The sum of several floors, round by round."""
    return [sum(values) for values in zip(*floors, strict=True)]
