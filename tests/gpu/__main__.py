"""`make test-gpu`: what Covey promises of a GPU, tried on this machine in under 8 minutes, into one results file.

    python -m tests.gpu [--device auto|cuda|cuda:N|cpu] [--size PIXELS] [--results FILE]

Without a GPU the steps run on the CPU as far as they can; the others are skipped, and say why. Exit code 1 where a step
failed, 2 where the device is not there.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from tests.gpu import engine_steps, network, server_steps
from tests.gpu.place import MODEL, Place, describe
from tests.gpu.steps import Figures, Outcome, run_all

from covey_server.errors import DeviceUnavailable
from covey_server.inference import devices, engine

_LAST_START_S = 360.0  # later steps are skipped: all of it shall end within 8 minutes
_STEPS: Mapping[str, Callable[[Place], Figures]] = {
    "strict device": server_steps.strict_device,
    "auto device": server_steps.auto_device,
    "golden check on the device": server_steps.golden_check,
    "batch curve": engine_steps.batch_curve,
    "padding buckets": engine_steps.padding,
    "IO binding on and off": engine_steps.io_binding,
    "int8 and float16": engine_steps.variants,
    "requests/s against onnxruntime": server_steps.requests_per_s,
    "identity under load": server_steps.identity,
    "two models": server_steps.two_models,
    "reload": server_steps.reload,
    "out of device memory": server_steps.out_of_memory,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs all steps; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.gpu", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", default="auto", help="as of covey-server (default: %(default)s)")
    parser.add_argument("--size", type=int, default=0, help="pixels of an image's side; default: 224, on a CPU 32")
    parser.add_argument("--seconds", type=float, default=4.0, help="of one load (default: %(default)s)")
    parser.add_argument("--results", type=Path, default=Path("bench/results/gpu.json"), help="default: %(default)s")
    options = parser.parse_args(arguments)
    try:
        device = devices.choose(options.device, engine.available_providers(), engine.probe)
    except DeviceUnavailable as error:
        print(f"test-gpu: {error}", file=sys.stderr)
        return 2
    size = options.size or (224 if device.is_cuda else 32)
    options.results.parent.mkdir(parents=True, exist_ok=True)
    print(f"test-gpu: on {device.name}{f', in place of CUDA: {device.fallback}' if device.fallback else ''}")
    with tempfile.TemporaryDirectory(prefix="covey-gpu-") as name:
        folder = Path(name)
        place = Place(device, folder / "models", folder, size, options.seconds)
        network.write(place.models, MODEL, size)
        steps = {name: partial(step, place) for name, step in _STEPS.items()}
        outcomes = run_all(steps, describe(device), options.results, _LAST_START_S, _tell)
    print(f"Written to {options.results}")
    return int(any(each.outcome == "failed" for each in outcomes))


def _tell(outcome: Outcome) -> None:
    print(f"{outcome.outcome:<8} {outcome.name} ({outcome.seconds:.1f} s)", flush=True)
    if outcome.reason:
        print("         " + outcome.reason.strip().replace("\n", "\n         "))
    for name, value in outcome.figures.items():
        print(f"         {name}: {value}")


if __name__ == "__main__":
    sys.exit(main())
