"""mnist-compact, resnet9, wide-resnet, densenet and mobilenet: the ideas of their papers, their parameters, and that
the converted ones compute the same. That of the other networks is in test_export_networks.py, too."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from covey_export import onnx_graph
from covey_export.architecture import notes, steps
from covey_export.image_classifier import ImageClassifier
from covey_export.networks import NETWORKS, ImageShape, Output, Task
from covey_export.networks.densenet import DenseLayer, DenseNet
from covey_export.networks.mnist_compact import MnistCompact
from covey_export.networks.mobilenet import MobileNet, separable_convolution
from covey_export.networks.resnet9 import ResNet9
from covey_export.networks.wide_resnet import WideBlock, WideResNet
from covey_proto import tensors

# As narrow and shallow as they can be built, for what costs time.
SMALL: dict[str, tuple[Callable[[], nn.Module], ImageShape]] = {
    "mnist-compact": (lambda: MnistCompact(10), (28, 28, 1)),
    "resnet9": (lambda: ResNet9(3, 10, widths=(8, 12, 16)), (32, 32, 3)),
    "wide-resnet": (lambda: WideResNet(1, 10, depth=10, factor=1), (28, 28, 1)),
    "densenet": (lambda: DenseNet(1, 10, layers=1, growth=4), (28, 28, 1)),
    "mobilenet": (lambda: MobileNet(3, 10, pairs=((16, 1), (24, 2))), (32, 32, 3)),
}


def _parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _map_sides(name: str) -> set[int]:
    """The heights of the image and of the maps of all convolutions."""
    network = NETWORKS[name]
    module = network.build(Task(network.image_shape, 10)).eval()
    height, width, channels = network.image_shape
    seen = {height}
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda _, __, output: seen.add(output.shape[2]))
    with torch.inference_mode():
        module(torch.zeros(1, channels, height, width))
    return seen


def test_parameters_are_those_of_the_papers() -> None:
    assert _parameters(DenseNet(3, 10, layers=16, growth=12)) == 769_162  # DenseNet-BC, 100 layers, growth 12: 0.8 M
    assert _parameters(WideResNet(3, 10, depth=16, factor=4)) == 2_748_890  # WRN-16-4: 2.7 M
    assert _parameters(WideResNet(3, 10, depth=28, factor=10)) == 36_479_194  # WRN-28-10: 36.5 M


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("mnist-compact", 325_994),
        ("resnet9", 6_525_482),
        ("wide-resnet", 691_386),
        ("densenet", 689_482),
        ("mobilenet", 274_506),
    ],
)
def test_parameters_are_those_that_the_modules_state(name: str, parameters: int) -> None:
    assert NETWORKS[name].parameters() == parameters


@pytest.mark.parametrize(
    ("name", "sides"),
    [
        ("mnist-compact", {28, 26, 24, 12, 10, 8, 4, 1}),
        ("resnet9", {32, 31, 15, 7, 3}),
        ("wide-resnet", {28, 14, 7}),
        ("densenet", {28, 14, 7}),
        ("mobilenet", {32, 16, 8}),
    ],
)
def test_maps_shrink_as_the_modules_state(name: str, sides: set[int]) -> None:
    assert _map_sides(name) == sides


def test_a_dense_layer_keeps_what_came_in_and_adds_to_it() -> None:
    images = torch.rand(2, 6, 5, 5)
    after = DenseLayer(6, 4, dropout=0.0).eval()(images)
    assert after.shape == (2, 10, 5, 5)
    assert torch.equal(after[:, :6], images)
    assert after[:, 6:].std() > 0


def test_a_wide_block_of_one_shape_adds_to_what_came_in() -> None:
    images, block = torch.rand(2, 8, 6, 6), WideBlock(8, 8, stride=1, dropout=0.0).eval()
    assert block.around is None
    assert torch.allclose(block(images), images + block.path(block.before(images)))
    other = WideBlock(8, 12, stride=2, dropout=0.0).eval()
    assert other.around is not None
    nn.init.zeros_(other.path[-1].weight)  # type: ignore[arg-type]
    assert torch.equal(other(images), other.around(other.before(images)))
    assert other(images).shape == (2, 12, 3, 3)


@pytest.mark.parametrize("depth", [4, 12, 17])
def test_a_depth_that_makes_no_whole_blocks_is_refused(depth: int) -> None:
    with pytest.raises(ValueError, match=f"has 10, 16, 22, 28, ... layers, not {depth}"):
        WideResNet(1, 10, depth=depth)


def test_depthwise_convolutions_see_one_channel_and_pointwise_ones_mix_them() -> None:
    pair = separable_convolution(3, 5, stride=2).eval()
    images = torch.rand(1, 3, 8, 8)
    changed = images.clone()
    changed[:, 1] += 1
    differs = (pair[:2](images) != pair[:2](changed)).flatten(2).any(dim=2)[0]  # before ReLU, which may make both 0
    assert differs.tolist() == [False, True, False]
    assert pair(images).shape == (1, 5, 4, 4)
    assert sum(value.numel() for value in separable_convolution(128, 128, 1).parameters() if value.ndim > 1) == 17_536


def test_resnet9_computes_its_first_layer_and_begins_as_the_identity() -> None:
    network = ResNet9(3, 10)
    before = network.stem.weight.clone()
    images = torch.randn((40, 3, 12, 12), generator=torch.Generator().manual_seed(0))
    network.fit_to_images(images)
    assert not torch.equal(network.stem.weight, before)
    assert not network.stem.weight.requires_grad
    seen = network.stem(images).flatten(2).transpose(0, 1).flatten(1)[:12]
    assert torch.allclose(seen @ seen.T / seen.shape[1], torch.eye(12), atol=0.01)
    convolutions = [layer for layer in network.features.modules() if isinstance(layer, nn.Conv2d)]
    maps = torch.rand(1, convolutions[0].in_channels, 5, 5)
    assert torch.equal(convolutions[0](maps)[:, : maps.shape[1]], maps)
    assert len([layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]) == 9


@pytest.mark.parametrize("name", SMALL)
def test_the_converted_network_computes_the_same_and_show_knows_its_layers(name: str) -> None:
    """For any batch; the parameters that are left are those of the layers with batch normalisation folded in."""
    torch.manual_seed(0)
    build, shape = SMALL[name]
    module = build()
    _give_statistics(module)
    model = ImageClassifier(module, Output.LOGITS, torch.tensor(1 / 255), torch.tensor(-0.5)).eval()
    graph = onnx_graph.export(model, shape).SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    brightness = np.arange(1, 8, dtype=np.uint8)[:, None, None, None]  # noise alone is all alike to fresh weights
    images = brightness * np.random.default_rng(0).integers(0, 36, (7, *shape), dtype=np.uint8)
    with torch.inference_mode():
        expected = model(torch.tensor(images)).numpy()
    for batch in (1, 2, 3, 7):
        (found,) = session.run([tensors.PROBABILITIES], {tensors.IMAGES: images[:batch]})
        assert np.abs(found - expected[:batch]).max() < 1e-5, batch
    assert np.ptp(expected, axis=0).max() > 1e-3, "all images get the same answer"
    shown = {step.name: step for step in steps.read(graph)}
    layers = {path: part for path, part in module.named_modules() if isinstance(part, nn.Conv2d | nn.Linear)}
    for path, layer in layers.items():
        weights = layer.weight.numel()
        assert shown[f"{path}"].parameters in (weights, weights + layer.weight.shape[0]), path
        assert shown[f"{path}"].multiply_adds == weights * np.prod(shown[path].output[1:], initial=1), path
    assert list(shown.values())[-1].output == (10,)
    assert notes.find(list(shown.values()))


def _give_statistics(module: nn.Module) -> None:
    """Batch normalisation that does something, so that folding it wrongly would be seen."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean, -0.2, 0.2)  # type: ignore[arg-type]
            nn.init.uniform_(part.running_var, 0.5, 1.5)  # type: ignore[arg-type]
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.2, 0.2)
        elif isinstance(part, nn.Linear):
            nn.init.normal_(part.weight)  # answers that differ
