"""The networks have exactly the shapes of their tutorials and papers, for whatever images they are built."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

from covey_export import image_classifier
from covey_export.errors import InvalidDataset, UnknownName
from covey_export.networks import NETWORKS, ImageShape, Network, Output, Task, find_network
from covey_export.networks.vgg import Vgg
from covey_export.training.recipes import find_recipe

GREY_28: ImageShape = (28, 28, 1)
# Each Inception block: what comes in, and the channels of its convolutions path by path.
INCEPTIONS = [
    (64, (24, 24, 48, 8, 16, 16)),
    (104, (32, 32, 64, 8, 24, 24)),
    (144, (48, 48, 96, 12, 24, 24)),
    (192, (64, 64, 128, 16, 32, 32)),
]


def _inception(inputs: int, widths: tuple[int, ...]) -> list[tuple[int, ...]]:
    one, narrow3, three, narrow5, five, pooled = widths
    return [
        (inputs, one, 1, 0),
        *((inputs, narrow3, 1, 0), (narrow3, three, 3, 1)),
        *((inputs, narrow5, 1, 0), (narrow5, five, 5, 2)),
        (inputs, pooled, 1, 0),
    ]


def _same(*widths: int) -> list[tuple[int, ...]]:
    """3x3 convolutions one behind the other."""
    return [(before, after, 3, 1) for before, after in pairwise(widths)]


def _normalised_first(channels: int, layers: int, growth: int) -> list[tuple[int, ...]]:
    """DenseNet-BC: bottleneck and convolution of each layer, and half the channels between blocks."""
    width = 2 * growth
    shapes: list[tuple[int, ...]] = [(channels, width, 3, 1)]
    for block in range(3):
        if block:
            shapes.append((width, width // 2, 1, 0))
            width //= 2
        for _ in range(layers):
            shapes += [(width, 4 * growth, 1, 0), (4 * growth, growth, 3, 1)]
            width += growth
    return [*shapes, (width, 10)]


def _wide_stage(before: int, after: int) -> list[tuple[int, ...]]:
    """Two blocks, the first with a 1x1 convolution on the way around."""
    return [*_same(before, after, after), (before, after, 1, 0), *_same(after, after, after)]


def _separable(*widths: int) -> list[tuple[int, ...]]:
    """Depthwise and pointwise convolutions; a depthwise kernel looks at one channel."""
    return [shape for before, after in pairwise(widths) for shape in ((1, before, 3, 1), (before, after, 1, 0))]


# (in, out, kernel, padding) of each convolution, (in, out) of each linear layer
SHAPES: dict[str, list[tuple[int, ...]]] = {
    "cifar-net": [(3, 6, 5, 0), (6, 16, 5, 0), (400, 120), (120, 84), (84, 10)],
    "lenet": [(1, 6, 5, 0), (6, 16, 5, 0), (256, 120), (120, 84), (84, 10)],
    "mlp": [(784, 256), (256, 10)],
    "mnist-cnn": [(1, 32, 3, 1), (32, 64, 3, 1), (3136, 1024), (1024, 512), (512, 10)],
    "mnist-deep": [(1, 16, 5, 2), (16, 32, 5, 2), (32, 32, 5, 2), (32, 64, 5, 2), (3136, 10)],
    # 28 -> 14 -> 7 -> 4 by three poolings that overlap
    "alexnet": [*_same(1, 32, 96, 192, 128, 128), (128 * 4 * 4, 512), (512, 512), (512, 10)],
    # 28 -> 14 -> 7 -> 3
    "vgg": [*_same(1, 32, 32, 64, 64, 128, 128), (128 * 3 * 3, 256), (256, 10)],
    "nin": [
        *((1, 48, 3, 1), (48, 48, 1, 0), (48, 48, 1, 0)),
        *((48, 96, 3, 1), (96, 96, 1, 0), (96, 96, 1, 0)),
        *((96, 192, 3, 1), (192, 192, 1, 0), (192, 192, 1, 0)),
        (192, 10, 1, 0),
    ],
    "googlenet": [
        *_same(1, 32, 64),
        *(shape for inputs, widths in INCEPTIONS for shape in _inception(inputs, widths)),
        (256, 10),
    ],
    "resnet": [(3, 24, 2, 0), *_same(24, 64, 64, 64, 192, 192, 192, 256, 256, 256), (256, 10)],
    # 28 -> 26 -> 24 -> 12 -> 10 -> 8 -> 4 -> 1
    "mnist-compact": [
        *((1, 32, 3, 0), (32, 32, 3, 0), (32, 32, 5, 2)),
        *((32, 64, 3, 0), (64, 64, 3, 0), (64, 64, 5, 2), (64, 128, 4, 0), (128, 10)),
    ],
    "resnet9": [(3, 24, 2, 0), *_same(24, 128, 128, 128, 256, 512, 512, 512), (512, 10)],
    "wide-resnet": [*_same(1, 16), *_wide_stage(16, 32), *_wide_stage(32, 64), *_wide_stage(64, 128), (128, 10)],
    "densenet": _normalised_first(1, 6, 24),
    "mobilenet": [*_same(3, 32), *_separable(32, 64, 128, 128, 256, 256, 256, 256), (256, 10)],
    "conv-demo": [(1, 1, 3, 0)],
}
OTHER_LAYERS: dict[str, dict[type[nn.Module], int]] = {
    "cifar-net": {nn.ReLU: 4, nn.MaxPool2d: 2},
    "lenet": {nn.Sigmoid: 4, nn.MaxPool2d: 2},
    "mlp": {nn.ReLU: 1, nn.Softmax: 1},
    "mnist-cnn": {nn.ReLU: 4, nn.MaxPool2d: 2},
    "mnist-deep": {nn.ReLU: 4, nn.MaxPool2d: 2},
    "alexnet": {nn.BatchNorm2d: 5, nn.ReLU: 7, nn.MaxPool2d: 3, nn.Dropout: 2},
    "vgg": {nn.BatchNorm2d: 6, nn.ReLU: 7, nn.MaxPool2d: 3, nn.Dropout: 2},
    "nin": {nn.BatchNorm2d: 9, nn.ReLU: 9, nn.MaxPool2d: 2, nn.AdaptiveAvgPool2d: 1, nn.Dropout2d: 2},
    "googlenet": {nn.BatchNorm2d: 26, nn.ReLU: 26, nn.MaxPool2d: 6, nn.AdaptiveAvgPool2d: 1, nn.Dropout: 1},
    "resnet": {nn.BatchNorm2d: 9, nn.GELU: 10, nn.MaxPool2d: 3, nn.AdaptiveMaxPool2d: 1},
    "mnist-compact": {nn.BatchNorm2d: 7, nn.ReLU: 7},
    "resnet9": {nn.BatchNorm2d: 7, nn.GELU: 8, nn.MaxPool2d: 3, nn.AdaptiveMaxPool2d: 1},
    "wide-resnet": {nn.BatchNorm2d: 13, nn.ReLU: 13, nn.AdaptiveAvgPool2d: 1},
    "densenet": {nn.BatchNorm2d: 39, nn.ReLU: 39, nn.AvgPool2d: 2, nn.AdaptiveAvgPool2d: 1},
    "mobilenet": {nn.BatchNorm2d: 15, nn.ReLU: 15, nn.AdaptiveAvgPool2d: 1},
    "conv-demo": {nn.ReLU: 1, nn.MaxPool2d: 1, nn.Softmax: 1},
}
DROPOUT = {  # of the network alone, and of its networks with dropout 0.25
    "cifar-net": ([], []),
    "lenet": ([], []),
    "mlp": ([], [0.25]),
    "mnist-cnn": ([], [0.25] * 3),
    "mnist-deep": ([], [0.25]),
    "alexnet": ([0.5] * 2, [0.25] * 2),
    "vgg": ([0.5] * 2, [0.25] * 2),
    "nin": ([0.15, 0.3], [0.125, 0.25]),
    "googlenet": ([0.3], [0.25]),
    "resnet": ([], [0.25]),
    "mnist-compact": ([], [0.25]),
    "resnet9": ([], [0.25]),
    "wide-resnet": ([], [0.25] * 6),
    "densenet": ([], [0.25] * 18),
    "mobilenet": ([], [0.25]),
    "conv-demo": ([], []),
}
# Those of its convolutions that are not 1.
STRIDES = {"mnist-compact": [2, 2], "wide-resnet": [2] * 4, "mobilenet": [2, 2]}
# Batch normalisation stands before the convolutions, with as many channels as come in. What these have is counted in
# test_export_small_image_networks.py.
NORMALISED_FIRST = ("wide-resnet", "densenet")
ANY_SIZE = [network for network in NETWORKS.values() if network.smallest_side]


def _build(network: Network, **task: float) -> nn.Module:
    return network.build(Task(network.image_shape, network.classes, **task))


def _layers(network: nn.Module) -> list[nn.Module]:
    """In the order in which they run, as often as they do."""
    return [layer for _, layer in network.named_modules(remove_duplicate=False)]


def _shape(layer: nn.Module) -> tuple[int, ...] | None:
    if isinstance(layer, nn.Conv2d):
        return (layer.in_channels // layer.groups, layer.out_channels, layer.kernel_size[0], int(layer.padding[0]))
    if isinstance(layer, nn.Linear):
        return (layer.in_features, layer.out_features)
    return None


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_are_those_of_the_tutorial_or_paper(name: str) -> None:
    layers = _layers(_build(NETWORKS[name]))
    assert [shape for layer in layers if (shape := _shape(layer))] == SHAPES[name]
    strides = [layer.stride[0] for layer in layers if isinstance(layer, nn.Conv2d) and layer.stride != (1, 1)]
    assert strides == STRIDES.get(name, [])
    for kind, count in OTHER_LAYERS[name].items():
        assert sum(isinstance(layer, kind) for layer in layers) == count, kind


@pytest.mark.parametrize("name", NETWORKS)
def test_dropout_is_a_layer_only_where_it_is_asked_for(name: str) -> None:
    network = NETWORKS[name]
    for built, shares in zip((_build(network), _build(network, dropout=0.25)), DROPOUT[name], strict=True):
        found = [layer.p for layer in _layers(built) if isinstance(layer, nn.Dropout | nn.Dropout2d)]
        assert found == shares
    assert network.takes_dropout == bool(DROPOUT[name][1])
    trained_with, trained_without = _build(network, dropout=0.25), _build(network, dropout=0.0)
    assert sum(map(torch.numel, trained_with.parameters())) == sum(map(torch.numel, trained_without.parameters()))


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in NORMALISED_FIRST])
def test_parameters_are_counted(name: str) -> None:
    """By the table above: a convolution in front of batch normalisation has no bias, but scale and shift behind it.

    The stem of resnet and resnet9, the one of 2x2, has neither.
    """
    normalised = sum(isinstance(layer, nn.BatchNorm2d) for layer in _layers(_build(NETWORKS[name])))
    expected = 0
    for shape in SHAPES[name]:
        inputs, outputs, kernel = (*shape, 1)[:3] if len(shape) == 2 else shape[:3]
        extra = 0 if kernel == 2 else 2 if normalised and len(shape) == 4 else 1
        normalised -= extra == 2
        expected += inputs * outputs * kernel**2 + extra * outputs
    assert normalised == 0
    assert NETWORKS[name].parameters() == expected - (name == "conv-demo")  # its convolution has no bias


def test_the_documentation_lists_each_network_with_its_parameters() -> None:
    text = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
    rows = [line.split(" | ")[:2] for line in text.partition("| network | parameters |")[2].splitlines()[2:]]
    listed = {row[0].removeprefix("| "): row[1] for row in rows[: len(NETWORKS)]}
    assert listed == {name: f"{network.parameters():,}" for name, network in NETWORKS.items()}


@pytest.mark.parametrize(("name", "parameters"), [("cifar-net", 62_006), ("lenet", 44_426), ("mnist-cnn", 3_761_034)])
def test_parameters_of_the_tutorials(name: str, parameters: int) -> None:
    assert NETWORKS[name].parameters() == parameters


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("classes", [2, 10])
def test_served_model_gives_probabilities(name: str, classes: int) -> None:
    network = NETWORKS[name]
    classes = 4 if name == "conv-demo" else classes
    recipe = find_recipe(name)
    if recipe.mean is None:
        with pytest.raises(ValueError, match="the recipe is not fitted to a data set"):
            image_classifier.build(network, classes, recipe)
        recipe = find_recipe("lenet")
    torch.manual_seed(0)
    model = image_classifier.build(network, classes, recipe).eval()
    images = torch.randint(0, 256, (3, *network.image_shape), dtype=torch.uint8)
    with torch.inference_mode():
        probabilities = model(images)
        own = model.network(model.normalise(images))
    assert probabilities.shape == (3, classes)
    assert torch.allclose(probabilities.sum(dim=1), torch.ones(3))
    assert torch.equal(own, probabilities) == (network.output is Output.PROBABILITIES)
    assert (network.output is Output.PROBABILITIES) == (name in ("mlp", "conv-demo"))


@pytest.mark.parametrize("network", ANY_SIZE, ids=lambda network: network.name)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("longer", [0, 3, 33])
def test_networks_for_any_size_take_it_from_their_smallest_up(network: Network, channels: int, longer: int) -> None:
    assert network.smallest_side is not None
    shape = (network.smallest_side, network.smallest_side + longer, channels)
    fitted = network.fitted_to("mine", shape)
    assert fitted.spec.shape == shape
    built = fitted.build(Task(fitted.image_shape, 5)).eval()
    images = torch.rand((2, channels, *shape[:2]), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        logits = built(images)
    assert logits.shape == (2, 5)
    assert not torch.equal(logits[0], logits[1])
    with pytest.raises(InvalidDataset, match=rf"{network.name} takes images from .* up, mine has \d+x\d+ RGB"):
        network.fitted_to("mine", (network.smallest_side - 1, 40, 3))


def test_linear_layers_follow_the_size_of_the_image() -> None:
    def first_linear(name: str, shape: ImageShape) -> int:
        built = NETWORKS[name].build(Task(shape, 10))
        return next(layer.in_features for layer in built.modules() if isinstance(layer, nn.Linear))

    # alexnet's poolings round up (33 -> 17 -> 9 -> 5), vgg's round down (33 -> 16 -> 8 -> 4)
    assert first_linear("alexnet", (33, 32, 3)) == 128 * 5 * 4
    assert first_linear("vgg", (33, 32, 3)) == 128 * 4 * 4
    assert first_linear("googlenet", (33, 32, 3)) == first_linear("googlenet", GREY_28)


def test_depth_and_width_of_vgg_are_parameters() -> None:
    built = Vgg(20, 16, 3, 7, dropout=0.1, blocks=((1, 8), (3, 24)), hidden=50)
    shapes = [shape for layer in _layers(built) if (shape := _shape(layer))]
    assert shapes == [*_same(3, 8, 24, 24, 24), (24 * 5 * 4, 50), (50, 7)]
    first = built.features[0](torch.rand(2, 3, 20, 16))
    assert first.shape == (2, 8, 10, 8)
    assert built.features[1](first).shape == (2, 24, 5, 4)
    assert built(torch.rand(2, 3, 20, 16)).shape == (2, 7)


def test_one_multiply_and_one_add_are_the_tutorials_normalisation() -> None:
    recipe = find_recipe("cifar-net", "tutorial")
    model = image_classifier.build(NETWORKS["cifar-net"], 10, recipe)
    images = torch.arange(256, dtype=torch.uint8).repeat(12).reshape(1, 32, 32, 3)
    expected = (images.permute(0, 3, 1, 2).to(torch.float64) / 255 - 0.5) / 0.5
    assert torch.allclose(model.normalise(images).to(torch.float64), expected, atol=1e-6)


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(InvalidDataset, match="lenet takes images of 28x28 grey, cifar10 has 32x32 RGB"):
        NETWORKS["lenet"].fitted_to("cifar10", (32, 32, 3))
    assert NETWORKS["lenet"].fitted_to("mnist", GREY_28) is NETWORKS["lenet"]


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"'lenett'. Did you mean lenet\? There are: lenet, "):
        find_network("lenett")
    with pytest.raises(UnknownName, match=r"'resnet18'. Did you mean torchvision:resnet18, or timm:resnet18\?"):
        find_network("resnet18")


def test_of_many_names_the_nearest_are_listed() -> None:
    pytest.importorskip("timm")
    with pytest.raises(UnknownName, match=r"Did you mean resnet18\? There are: resnet18, .* and [\d,]+ more$") as info:
        find_network("timm:resnet19")
    assert len(str(info.value)) < 500
