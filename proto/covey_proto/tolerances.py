"""By how much a probability may differ from the one in a file's golden set, by what the file computes in: what export
writes into the file and holds it to, and what a server accepts."""

from __future__ import annotations

from collections.abc import Mapping

MAX_TOLERANCE = 0.1  # beyond it a check says nothing
# Absolute, by `Build.precision`.
TOLERANCES: Mapping[str, float] = {
    "float32": 1e-4,
    # Against PyTorch in float32. CPUs differed by up to 0.0003 over the test sets of MNIST and CIFAR-10; a device that
    # really adds up in 11 bits of significand, as CPUs do not, may be several times further off.
    "float16": 0.02,
    # Against the int8 graph's own answers. Other kernels give the same integers but for values that lie at the edge
    # between two: by onnxruntime's plain kernels in place of its fused ones fewer than one image in a hundred
    # changed, by up to 0.034.
    "int8": 0.05,
}
