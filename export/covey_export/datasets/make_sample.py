"""Makes the file of the data set `sample` from MNIST: python -m covey_export.datasets.make_sample MNIST_FOLDER

Seeded, so that the same MNIST gives the same file.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np

from covey_export.datasets import idx, sample
from covey_export.datasets.dataset import Labels
from covey_proto import atomic_files

_SEED = 0
_TRAIN_PER_CLASS = 600
_TEST_PER_CLASS = 100


def _balanced(labels: Labels, per_class: int, random: np.random.Generator) -> Labels:
    """The indices of `per_class` images of each class, in the order of the whole set."""
    places = [random.choice(np.flatnonzero(labels == label), per_class, replace=False) for label in np.unique(labels)]
    return np.sort(np.concatenate(places))


def main() -> None:
    mnist = idx.load(Path(sys.argv[1]), "mnist", sample.LABELS, sample.LICENCE)
    random = np.random.default_rng(_SEED)
    train = _balanced(mnist.train_labels, _TRAIN_PER_CLASS, random)
    test = _balanced(mnist.test_labels, _TEST_PER_CLASS, random)
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        train_images=mnist.train_images[train],
        train_labels=mnist.train_labels[train].astype(np.uint8),
        test_images=mnist.test_images[test],
        test_labels=mnist.test_labels[test].astype(np.uint8),
    )
    path = Path(__file__).with_name(sample.FILE)
    atomic_files.write_bytes(path, buffer.getvalue())
    print(f"{path}: {len(train)} + {len(test)} images, {len(buffer.getvalue()):,} bytes")


if __name__ == "__main__":
    main()
