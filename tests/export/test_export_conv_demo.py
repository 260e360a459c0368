"""The convolution that can be computed by hand, computed by hand: in PyTorch layer by layer, and as it is served."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from covey_export import image_classifier
from covey_export.__main__ import main
from covey_export.datasets import find_entry
from covey_export.datasets.demo import EXAMPLE
from covey_export.errors import InvalidDataset
from covey_export.networks import NETWORKS, Task
from covey_export.networks.conv_demo import ConvDemo
from covey_export.training.recipes import find_recipe
from covey_server.images.pixels import InputSpec
from covey_server.inference.engine import Engine

# The image, and the kernel that is laid upon it (as it is, not turned around):
#
#     3 3 2 1 0
#     2 3 2 1 0        0 1 2
#     3 3 2 1 0        2 2 0
#     4 3 2 1 0        0 1 2
#     1 3 2 1 0
#
# Convolution, stride 1, no padding, no bias: each of 3x3 places is the sum of nine products, row by row of the kernel.
# Upper and lower row: the second pixel, and twice the third. Middle row: twice the first and twice the second.
#
#     left column      (3 + 2*2) + 2*(2 + 3) + (3 + 2*2) =  7 + 10 + 7 = 24
#                      (3 + 2*2) + 2*(3 + 3) + (3 + 2*2) =  7 + 12 + 7 = 26
#                      (3 + 2*2) + 2*(4 + 3) + (3 + 2*2) =  7 + 14 + 7 = 28
#     middle column    (2 + 2*1) + 2*(3 + 2) + (2 + 2*1) =  4 + 10 + 4 = 18, in all three rows
#     right column     (1 + 2*0) + 2*(2 + 1) + (1 + 2*0) =  1 +  6 + 1 =  8, in all three rows
CONVOLUTION = [[24, 18, 8], [26, 18, 8], [28, 18, 8]]
# ReLU: nothing is below zero, so nothing changes.
#
# Maximum of 2x2, stride 2, padding 1: with the padding (-), which never is the maximum, the nine places are
#
#     -  - |  -  -
#     - 24 | 18  8       24  max(18, 8)                24 18
#     -----+------   ->                            =
#     - 26 | 18  8       max(26, 28)  max(18, 8)       28 18
#     - 28 | 18  8
POOL = [[24, 18], [28, 18]]
FLAT = [24, 18, 28, 18]
# Softmax: e^(24-28) = 0.01831564, e^(18-28) = 0.00004540, e^(28-28) = 1, e^(18-28) = 0.00004540; sum 1.01840644.
PROBABILITIES = [0.01798461, 0.00004458, 0.98192614, 0.00004458]


@pytest.fixture
def network() -> ConvDemo:
    return ConvDemo().eval()


def test_every_intermediate_value(network: ConvDemo) -> None:
    values = torch.tensor([[EXAMPLE]], dtype=torch.float32)
    values = network.convolution(values)
    assert values.tolist() == [[CONVOLUTION]]
    values = network.relu(values)
    assert values.tolist() == [[CONVOLUTION]]
    values = network.pool(values)
    assert values.tolist() == [[POOL]]
    values = network.flatten(values)
    assert values.tolist() == [FLAT]
    values = network.softmax(values)
    assert values.tolist()[0] == pytest.approx(PROBABILITIES, abs=1e-8)
    assert torch.equal(network(torch.tensor([[EXAMPLE]], dtype=torch.float32)), values)


def test_what_is_below_zero_is_cut_off(network: ConvDemo) -> None:
    """The example's negative: all sums are below zero, ReLU makes them 0, and no corner is more likely than another."""
    negative = -torch.tensor([[EXAMPLE]], dtype=torch.float32)
    assert network.convolution(negative).max() == -8
    assert network(negative).tolist() == [[0.25] * 4]


def test_the_example_is_the_data_sets_first_test_image_and_pixels_come_as_they_are() -> None:
    dataset = find_entry("demo").load(InputSpec(5, 5, 1), None)
    assert dataset.test_images[0, :, :, 0].tolist() == [list(row) for row in EXAMPLE]
    assert dataset.labels[dataset.test_labels[0]] == "bottom left"
    model = image_classifier.build(NETWORKS["conv-demo"], 4, find_recipe("conv-demo"))
    images = torch.arange(250, dtype=torch.uint8).reshape(10, 5, 5, 1)
    assert torch.equal(model.normalise(images), images.permute(0, 3, 1, 2).float())


def test_it_is_converted_and_served_without_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["all", "conv-demo", "--no-report"]) == 0
    said = capsys.readouterr().out
    assert "accuracy on the 400 test images: 100.00%" in said
    assert "top-1 disagreements 0" in said
    engine = Engine(tmp_path / "models" / "conv-demo" / "1" / "model.onnx")
    example = np.array(EXAMPLE, np.uint8)[None, ..., None]
    assert engine.run(example)[0].tolist() == pytest.approx(PROBABILITIES, abs=1e-7)


def test_it_has_nothing_to_learn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert not any(parameter.requires_grad for parameter in ConvDemo().parameters())
    for _ in range(2):
        assert main(["train", "conv-demo"]) == 0
    assert "already trained (0 epochs" in capsys.readouterr().out
    assert main(["train", "conv-demo", "--epochs", "2", "--augment", "flip"]) == 2
    assert "conv-demo has nothing to learn; omit --epochs, --augment" in capsys.readouterr().err
    assert main(["train", "conv-demo", "--recipe", "fine-tune"]) == 2
    assert "no recipe of conv-demo is named 'fine-tune'" in capsys.readouterr().err


def test_all_networks_with_options_of_training_pass_it_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["all", "conv-demo", "conv-demo", "--epochs", "2", "--no-report"]) == 0
    assert "note: conv-demo has nothing to learn; --epochs does not apply" in capsys.readouterr().out


def test_other_numbers_of_classes_are_refused() -> None:
    with pytest.raises(InvalidDataset, match="tells 4 corners of an image apart, not 10 classes"):
        NETWORKS["conv-demo"].build(Task((5, 5, 1), 10))
