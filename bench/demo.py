"""`make demo`: the main job end to end. Trains a network, converts and verifies it, serves it, and classifies the
whole test set over gRPC, one image per request, from many callers at once."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from bench import callers, sheet
from bench.processes import BenchError, covey_server
from covey_export.datasets import Dataset, find_entry
from covey_export.errors import ExportError, MissingDataset
from covey_server.images.pixels import InputSpec

NETWORK = "lenet"
CALLERS = 64


def main() -> int:
    """Answers the exit code: 0 where the answers over the wire are as accurate as PyTorch's own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"), help="where the model goes (default: models)")
    parser.add_argument("--folder", type=Path, default=Path("demo"), help="where the rest goes (default: demo)")
    options = parser.parse_args()
    began = time.monotonic()
    options.folder.mkdir(parents=True, exist_ok=True)
    try:
        dataset = choose_dataset()
        model_file = export(dataset.name, options.models, options.folder)
        passed = serve_and_classify(dataset, model_file, options.folder)
    except (BenchError, ExportError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    print(f"\nDone in {time.monotonic() - began:.0f} s. `make serve` serves the model on the default ports.")
    print(f"What it learned, drawn: {model_file.parent / 'report.html'}")
    print(f"While `make serve` runs: curl -T docs/digit.png localhost:8000/v1/models/{NETWORK}/classify")
    return 0 if passed else 1


def choose_dataset() -> Dataset:
    """MNIST where it can be had, else the sample of it that Covey brings along."""
    spec = InputSpec(28, 28, 1)
    try:
        return find_entry("mnist").load(spec, None)
    except MissingDataset as error:
        print(f"{error}\n\nGoing on with the sample of MNIST that is in the package.")
        return find_entry("sample").load(spec, None)


def export(dataset: str, models: Path, folder: Path) -> Path:
    """Trains, converts, verifies and draws with `covey-export`; the model's file."""
    arguments = ["all", NETWORK, "--dataset", dataset, "--restart"]
    arguments += ["--models", str(models), "--checkpoints", str(folder / "checkpoints")]
    print(f"\n== covey-export {' '.join(arguments)}\n", flush=True)
    code = subprocess.call([sys.executable, "-m", "covey_export", *arguments])
    if code:
        raise BenchError(f"covey-export ended with exit code {code}; its message stands above")
    versions = [path for path in (models / NETWORK).glob("*/model.onnx") if path.parent.name.isdecimal()]
    return max(versions, key=lambda path: int(path.parent.name))


def serve_and_classify(dataset: Dataset, model_file: Path, folder: Path) -> bool:
    """Serves the model and classifies the whole test set; whether PyTorch's accuracy came back over the wire."""
    print(f"\n== covey-server, and {CALLERS} callers with one image per request\n", flush=True)
    verification = json.loads(model_file.with_name("verification.json").read_text())
    images, truth = dataset.test_images, dataset.test_labels
    with covey_server(model_file.parents[2], "auto", folder / "server.log") as server:
        batches_before, images_before = server.batches()
        answers = callers.classify_each(server.target, NETWORK, images, CALLERS)
        batches, computed = server.batches()
    accuracy = float(np.mean(answers.indices == truth))
    p50, p99 = np.percentile(answers.latencies_ms, (50, 99))
    picture = folder / "predictions.png"
    title = f"{NETWORK} on {dataset.name}, served by Covey: {accuracy:.2%} of {len(images):,} test images right"
    sheet.draw(picture, title, images, truth, answers.indices, answers.probabilities, dataset.labels)
    same = bool(accuracy == verification["torch_accuracy"])
    rows = {
        "images": f"{len(images):,}, one per request, {CALLERS} callers",
        "accuracy over gRPC": f"{accuracy:.2%}",
        "accuracy in PyTorch": f"{verification['torch_accuracy']:.2%}  ({'equal' if same else 'DIFFERENT'})",
        "latency": f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, as the callers saw it",
        "throughput": f"{answers.per_second:,.0f} requests/s",
        "mean batch size": f"{(computed - images_before) / (batches - batches_before):.1f} images",
        "model": str(model_file),
        "picture": str(picture),
    }
    for name, value in rows.items():
        print(f"  {name:<20} {value}")
    return same


if __name__ == "__main__":
    raise SystemExit(main())
