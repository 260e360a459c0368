"""What the drift metrics say of images that differ from the test images, and of images that do not.

    python -m bench.drift MODEL.onnx --dataset mnist

Each row is a fresh server that classifies images one by one, and what its /metrics then show.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bench import callers
from bench.models import model_parser
from bench.processes import BenchError, covey_server, fetch
from covey_export.datasets import Dataset, find_entry
from covey_export.datasets.dataset import Images, Labels
from covey_export.errors import ExportError
from covey_export.examination.corruptions import KINDS
from covey_server.images.pixels import InputSpec

IMAGES = 4000  # in each row
LIMIT = 0.25  # as in deploy/prometheus/rules.yml


def shifts(dataset: Dataset) -> Iterator[tuple[str, bool, Images, Labels]]:
    """Sets of images: name, whether production has shifted, the images, and their labels."""
    random = np.random.default_rng(21)
    test_indices = random.choice(len(dataset.test_images), min(IMAGES, len(dataset.test_images)), replace=False)
    images, labels = dataset.test_images[test_indices], dataset.test_labels[test_indices]
    train_indices = random.choice(len(dataset.train_images), IMAGES, replace=False)
    yield "test images", False, images, labels
    yield (
        "images that it was trained with",
        False,
        dataset.train_images[train_indices],
        dataset.train_labels[train_indices],
    )
    slight = np.clip(images + random.normal(0, 2, images.shape), 0, 255).astype(np.uint8)
    yield "noise of 2 of 255 levels", False, slight, labels
    yield "inverted", True, 255 - images, labels
    for kind, text in (("rotation", "turned by 45 degrees"), ("noise", "noise of 76 levels")):
        yield text, True, KINDS[kind](images, 3), labels
    yield "moved by a quarter of the width", True, np.roll(images, images.shape[2] // 4, axis=2), labels
    missing = labels != np.bincount(labels).argmax()
    yield "the most frequent class missing", True, images[missing], labels[missing]


def measure(models: Path, name: str, images: Images, log: Path) -> tuple[dict[str, float], Labels]:
    """The drift index after these images, by what it is an index of, and the answers."""
    with covey_server(models, "auto", log, ("--drift-window", str(IMAGES))) as server:
        answers = callers.classify_each(server.target, name, images)
        assert server.metrics_url is not None
        page = fetch(server.metrics_url)
    matches = re.findall(r'^covey_drift_index\{.*of="(\w+)".*\} (\S+)$', page, flags=re.MULTILINE)
    return {of: float(value) for of, value in matches}, answers.indices


def main() -> int:
    """The exit code: 0 if every shift was seen and nothing else was."""
    parser = model_parser("bench.drift", __doc__)
    parser.add_argument("--dataset", default="mnist", help="whose images are sent (default: %(default)s)")
    options = parser.parse_args()
    name, models = options.model.parents[1].name, options.model.parents[2]
    failures = 0
    print("| images | accuracy | index of classes | index of confidence | drift? |")
    print("| --- | --- | --- | --- | --- |")
    try:
        dataset = find_entry(options.dataset).load(InputSpec(28, 28, 1), None)
        with tempfile.TemporaryDirectory() as folder:
            for text, is_shift, images, labels in shifts(dataset):
                drift, answers = measure(models, name, images, Path(folder, "server.log"))
                accuracy = float(np.mean(answers == labels))
                is_seen = max(drift.values()) > LIMIT
                failures += is_seen != is_shift
                verdict = f"{'yes' if is_seen else 'no'}{'' if is_seen == is_shift else ' (WRONG)'}"
                print(
                    f"| {text} | {accuracy:.1%} | {drift['classes']:.3f} | {drift['confidence']:.3f} | {verdict} |",
                    flush=True,
                )
    except (BenchError, ExportError) as error:
        print(f"drift: {error}", file=sys.stderr)
        return 1
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
