"""Owns the floor of computing: onnxruntime alone, on one thread, with the batch already in memory."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when onnxruntime is loaded

import onnxruntime

BATCH_SIZES = (1, 8, 32, 64)
INPUT, OUTPUT = "images", "probabilities"
MEASURED_S = 0.1  # of CPU time per measurement
_MIN_RUNS = 2


class RawOnnxruntime:
    """One session of one model, run from one thread."""

    def __init__(self, model: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.image_shape: tuple[int, ...] = tuple(self._session.get_inputs()[0].shape[1:])
        self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map

    def cpu_us_per_image(self, batch_size: int) -> float:
        """CPU time per image at this batch size. All of it is spent on the calling thread."""
        images = np.random.default_rng(0).integers(0, 256, (batch_size, *self.image_shape), np.uint8)
        self._session.run([OUTPUT], {INPUT: images})  # this size's first run plans its memory
        start = time.thread_time_ns()
        self._session.run([OUTPUT], {INPUT: images})
        runs = max(int(MEASURED_S * 1e9 / (time.thread_time_ns() - start)), _MIN_RUNS)
        start = time.thread_time_ns()
        for _ in range(runs):
            self._session.run([OUTPUT], {INPUT: images})
        return (time.thread_time_ns() - start) / 1000 / runs / batch_size
