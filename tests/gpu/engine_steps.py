"""Steps that need no server: what the engine does on the device, beside onnxruntime alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tests.gpu import network
from tests.gpu.place import MODEL, Place
from tests.gpu.steps import Figures

from covey_export.quantization.precision import Precision
from covey_server.inference.devices import Device
from covey_server.inference.engine import Engine
from covey_server.inference.served_model import ServedModel

_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_ODD_SIZES = (3, 5, 7, 11, 13, 23, 37, 53)
_MEASURED_SHARE = 0.075  # of the seconds of a load, for one batch size
_TOLERANCE = 2e-3  # of a probability, between a row alone and in a batch


def batch_curve(place: Place) -> Figures:
    """Images per second by batch size: the server's own measuring at load, and onnxruntime alone."""
    served = _served(place, place.file)
    measured = {str(size): round(size / run_ns * 1e9) for size, run_ns in served.cost.measured.items()}
    raw = raw_rates(place, place.file)
    return {"server_images_per_s": measured, "best_batch": served.cost.best_batch_size, "onnxruntime_images_per_s": raw}


def io_binding(place: Place) -> Figures:
    """onnxruntime alone, as the server runs it and with inputs and outputs bound to the device: images per second by
    batch size. Shows what binding would gain; the server does not use it."""
    plain = raw_rates(place, place.file)
    session = _session(place.file, place.device)
    name = "cuda" if place.device.is_cuda else "cpu"
    bound: dict[str, int] = {}
    for size in (size for size in _SIZES if str(size) in plain):
        images = network.pictures(size, place.size)

        def run(images: NDArray[np.uint8] = images) -> NDArray[np.float32]:
            binding = session.io_binding()
            binding.bind_ortvalue_input("images", onnxruntime.OrtValue.ortvalue_from_numpy(images, name, 0))
            binding.bind_output("probabilities", name, 0)
            session.run_with_iobinding(binding)
            found: NDArray[np.float32] = binding.copy_outputs_to_cpu()[0]
            return found

        expected = session.run(["probabilities"], {"images": images})[0]
        assert np.allclose(run(), expected, atol=_TOLERANCE), f"bound, a batch of {size} has other answers"
        bound[str(size)] = _rate(size, run, place.seconds * _MEASURED_SHARE)
    gains = {size: round(bound[size] / plain[size], 2) for size in bound}
    return {"off_images_per_s": plain, "on_images_per_s": bound, "gain": gains}


def padding(place: Place) -> Figures:
    """Batches of sizes that were not measured: answers as of each row alone, and how long the first run of each takes,
    filled up as the server does and not."""
    served = _served(place, place.file)
    images = network.pictures(max(_ODD_SIZES), place.size)
    alone = np.concatenate([served.run(images[row : row + 1]) for row in range(len(images))])
    first_ms: dict[str, list[float]] = {"padded": [], "not padded": []}
    for size in _ODD_SIZES:
        for name, run in (("padded", served.run), ("not padded", served.engine.run)):
            began = time.perf_counter()
            found = run(images[:size])
            first_ms[name].append(round((time.perf_counter() - began) * 1e3, 2))
            assert found.shape == (size, network.CLASSES)
            difference = float(np.abs(found - alone[:size]).max())
            assert difference <= _TOLERANCE, f"{name}, {size} images: {difference:.1e} off their rows alone"
    buckets = list(served.cost.measured) if place.device.is_cuda else "none on the CPU"
    return {"sizes": _ODD_SIZES, "buckets": buckets, "first_run_ms": first_ms}


def variants(place: Place) -> Figures:
    """int8 and float16: served with their golden checks, and images per second against float32."""
    models = place.folder / "variants"
    rates = {"float32": max(raw_rates(place, place.file).values())}
    differences = {"float32": _served(place, place.file).golden_difference}
    for precision in (Precision.INT8, Precision.FLOAT16):
        file = network.write_variant(models, place.file, precision.model_name(MODEL), precision)
        differences[precision.value] = _served(place, file).golden_difference
        rates[precision.value] = max(raw_rates(place, file).values())
    faster = {name: round(rate / rates["float32"], 2) for name, rate in rates.items()}
    return {"images_per_s": rates, "times_float32": faster, "golden_difference": differences}


def raw_rates(place: Place, file: Path) -> dict[str, int]:
    """Images per second of onnxruntime alone on the device, one call after another, by batch size; until a size takes
    more than a second."""
    session = _session(file, place.device)
    rates: dict[str, int] = {}
    for size in _SIZES:
        images = network.pictures(size, place.size)
        rates[str(size)] = _rate(
            size,
            lambda images=images: session.run(["probabilities"], {"images": images}),  # type: ignore[misc]
            place.seconds * _MEASURED_SHARE,
        )
        if size / rates[str(size)] > 1.0 or (not place.device.is_cuda and size >= 16):
            break
    return rates


def _served(place: Place, file: Path) -> ServedModel:
    return ServedModel(file.parents[1].name, 1, Engine(file, place.device))


def _session(file: Path, device: Device) -> onnxruntime.InferenceSession:
    """As the engine makes it, from outside."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(file, options, providers=[(device.provider, device.options)])


def _rate(size: int, run: Callable[[], object], seconds: float) -> int:
    """Images per second, measured for so long; the first run does not count."""
    run()
    began, runs = time.perf_counter(), 0
    while (taken := time.perf_counter() - began) < seconds or runs < 2:
        run()
        runs += 1
    return max(1, round(size * runs / taken))
