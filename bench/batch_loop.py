"""The loop that `covey batch` is held against: what a good engineer writes by hand for one folder and one model.

    python -m bench.batch_loop FOLDER MODEL.onnx OUT.csv threads|processes

Pillow opens, converts and resizes, onnxruntime runs batches of 64 on one thread each, as many at once as there are
cores. Nothing is checked, bounded or kept: a file that is no image ends it.
"""

from __future__ import annotations

import csv
import os
import sys
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when onnxruntime is loaded

import onnxruntime

from bench.raw_onnxruntime import INPUT, OUTPUT

BATCH = 64
Rows = list[tuple[str, int, float]]

_session: onnxruntime.InferenceSession


def start(model: str) -> None:
    """Opens the model, in each process once."""
    global _session
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    _session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def classify(files: list[str]) -> Rows:
    """Name, class and probability of each file of a batch."""
    height, width, channels = _session.get_inputs()[0].shape[1:]
    images = np.empty((len(files), height, width, channels), np.uint8)
    for place, file in enumerate(files):
        with Image.open(file) as image:
            pixels = image.convert("L" if channels == 1 else "RGB")
            if pixels.size != (width, height):
                pixels = pixels.resize((width, height), Image.Resampling.BILINEAR)
            images[place] = np.asarray(pixels).reshape(height, width, channels)
    (probabilities,) = _session.run([OUTPUT], {INPUT: images})
    best = probabilities.argmax(axis=1)
    return list(zip(files, best.tolist(), probabilities.max(axis=1).tolist(), strict=True))


def main(folder: str, model: str, out: str, kind: str) -> int:
    files = sorted(str(path) for path in Path(folder).rglob("*") if path.suffix in (".png", ".jpg"))
    batches = [files[first : first + BATCH] for first in range(0, len(files), BATCH)]
    cores = len(os.sched_getaffinity(0))
    pool: Executor
    if kind == "threads":
        start(model)
        pool = ThreadPoolExecutor(cores)
    else:
        pool = ProcessPoolExecutor(cores, initializer=start, initargs=(model,))
    with pool, Path(out).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("key", "index", "probability"))
        for rows in pool.map(classify, batches):
            writer.writerows(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
