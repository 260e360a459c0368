"""Whether a variant pays: measured beside the float32 model, and said plainly."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from covey_export.datasets import Dataset
from covey_export.publication import Published
from covey_export.quantization import timing
from covey_export.quantization.precision import Precision
from covey_server.inference.engine import Engine


class TestSpeed:
    @pytest.fixture
    def slow(self, published: Published, tmp_path: Path) -> Path:
        """The published model with a hundred more softmaxes at its end."""
        model = onnx.load(published.path)
        last = model.graph.node[-1]
        assert last.op_type == "Softmax"
        last.output[0] = "more_0"
        for number in range(100):
            output = "probabilities" if number == 99 else f"more_{number + 1}"
            model.graph.node.append(onnx.helper.make_node("Softmax", [f"more_{number}"], [output]))
        path = tmp_path / "slow.onnx"
        path.write_bytes(model.SerializeToString())
        return path

    def test_a_slower_variant_does_not_pay(self, published: Published, slow: Path, small: Dataset) -> None:
        found = timing.compare(published.path, slow, Precision.INT8, small.test_images[:3])
        assert not found.pays
        assert max(found.times_the_speed.values()) < 1
        assert found.sentence.startswith("int8 does not pay here: 0.")
        for size, factor in found.times_the_speed.items():
            assert factor == pytest.approx(found.float32_us_per_image[size] / found.variant_us_per_image[size])

    def test_a_faster_one_does(self, published: Published, slow: Path, small: Dataset) -> None:
        found = timing.compare(slow, published.path, Precision.INT8, small.test_images)
        assert found.pays
        assert found.times_the_speed[1] > 1.1

    def test_what_others_take_of_the_cores_does_not_count(
        self, published: Published, small: Dataset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        engine = Engine(published.path, threads=1)
        batch, run = small.test_images[:1], engine.run
        undisturbed = timing._turn(engine, batch, 20)

        def preempted(images: np.ndarray) -> np.ndarray:
            time.sleep(0.05)  # the thread is ready, and gets no core
            return run(images)

        monkeypatch.setattr(engine, "run", preempted)
        assert timing._turn(engine, batch, 3) < undisturbed + 0.02

    @pytest.mark.parametrize(
        ("faster", "verdict", "figures"),
        [
            ({1: 0.8, 32: 0.9}, "does not pay here", "0.8 x the speed of float32 at batch 1, 0.9 x at batch 32"),
            ({1: 2.04, 8: 3.0}, "pays here", "2.0 x the speed of float32 at batch 1, 3.0 x at batch 8"),
            ({1: 0.9, 8: 3.0}, "pays here at batch 8 only", "0.9 x the speed of float32 at batch 1, 3.0 x at batch 8"),
        ],
    )
    def test_it_says_so(self, faster: dict[int, float], verdict: str, figures: str) -> None:
        said = timing.sentence(Precision.INT8, faster, 3.4)
        assert said == f"int8 {verdict}: {figures}; the file is 3.4 x smaller"

    def test_of_float16_it_says_why(self) -> None:
        assert timing.sentence(Precision.FLOAT16, {1: 1.04}, 2.0) == (
            "float16 does not pay here: 1.0 x the speed of float32 at batch 1; the file is 2.0 x smaller "
            "(onnxruntime's CPU provider computes float16 in float32; it is for GPUs, or to save space)"
        )
