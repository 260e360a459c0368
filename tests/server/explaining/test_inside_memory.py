"""Sessions that are kept hold the model, not what its layers answered."""

from __future__ import annotations

from pathlib import Path

from tests.server.explaining import networks
from tests.server.explaining.networks import node, normal

from covey_server.explaining.inside import Inside
from covey_server.inference.devices import CPU
from covey_server.inference.model_loader import ModelLoader
from covey_server.system.process_memory import resident_bytes

SHAPE = (384, 384, 3)
CHANNELS = 128
ANSWERED_BYTES = 2 * 4 * CHANNELS * SHAPE[0] * SHAPE[1]  # of the two wide layers: 151 MB
KEPT = 6


def test_what_layers_answered_is_given_back_after_each_run(tmp_path: Path) -> None:
    path = networks.write(
        tmp_path,
        "wide",
        [
            node("Conv", ["input", "conv.weight"], "conv", kernel_shape=[1, 1]),
            node("Relu", ["conv"], "relu"),
            node("GlobalAveragePool", ["relu"], "means"),
            node("Flatten", ["means"], "features"),
            node("MatMul", ["features", "head.weight"], "scores"),
        ],
        {"conv.weight": normal(CHANNELS, 3, 1, 1), "head.weight": normal(CHANNELS, networks.CLASSES)},
        shape=SHAPE,
    )
    model = ModelLoader(CPU, threads=1, max_batch_size=1)("wide", 1, path)
    before_bytes = resident_bytes()
    kept = [Inside(model) for _ in range(KEPT)]
    for inside in kept:
        inside.run(networks.images(1, SHAPE), ["conv", "relu"])
    # The allocator keeps about one answer for the next run, and other threads of the tests take memory meanwhile:
    # 194 MB were seen. Sessions that keep theirs hold KEPT of them.
    assert resident_bytes() - before_bytes < KEPT // 2 * ANSWERED_BYTES
