"""What is seen of a network's layers, whatever the network."""

from __future__ import annotations

import numpy as np
import torch
from tests.export.reports.cases import small_network
from torch import nn

from covey_export.image_classifier import ImageClassifier
from covey_export.networks import NETWORKS, Output, Task
from covey_export.reports import layers
from covey_export.reports.layers import Recording


class Reused(nn.Module):
    """One activation module that runs twice, in place."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 1, 1, bias=False)
        self.convolution.weight = nn.Parameter(torch.tensor([[[[-1.0]]]]))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        positive: torch.Tensor = self.relu(self.convolution(images))
        twice: torch.Tensor = self.relu(positive - 1)
        return twice.flatten(1)


class ChannelsLast(nn.Module):
    """A block as ConvNeXt's: convolution, then all in [N, H, W, C], then back."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 5, 1)
        self.normalisation = nn.LayerNorm(5)
        self.first = nn.ReLU()
        self.linear = nn.Linear(5, 7)
        self.second = nn.ReLU()
        self.third = nn.ReLU()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        last = self.first(self.normalisation(self.convolution(images).permute(0, 2, 3, 1)))
        back: torch.Tensor = self.second(self.linear(last)).permute(0, 3, 1, 2)
        return torch.as_tensor(self.third(back)).flatten(1)


def record(network: nn.Module, shape: tuple[int, int, int] = (8, 8, 1), pixel: int | None = None) -> Recording:
    """Of one image whose pixels are drawn, or all `pixel`."""
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    if pixel is not None:
        image[:] = pixel
    return layers.record(ImageClassifier(network, Output.LOGITS, torch.tensor(1.0), torch.tensor(0.0)), image)


def test_layers_in_the_order_in_which_they_run() -> None:
    found = record(small_network(1, 3))

    assert [(layer.name, layer.kind, layer.total, layer.size) for layer in found.layers] == [
        ("0", "Conv2d", 4, (8, 8)),
        ("1", "ReLU", 4, (8, 8)),
        ("2", "AdaptiveMaxPool2d", 4, (2, 2)),
        ("4", "Linear", 3, (1, 1)),
    ]
    assert [layer.is_vector for layer in found.layers] == [False, False, False, True]
    assert found.layers_in_all == 4


def test_channels_that_come_last_are_the_maps() -> None:
    network = ChannelsLast()

    found = record(network, (8, 6, 1))

    shapes = {layer.name: (layer.total, layer.size) for layer in found.layers}
    assert set(shapes.values()) == {(5, (8, 6)), (7, (8, 6))}
    assert [name for name, (total, _) in shapes.items() if total == 7] == ["linear", "second", "third"]
    maps = {layer.name: layer.maps for layer in found.layers}
    assert np.array_equal(maps["second"], maps["linear"].clip(0))
    assert np.array_equal(maps["third"], maps["second"])


def test_activation_in_place_leaves_what_came_before() -> None:
    """A pixel of 5 becomes -5, then 0, then, less 1, 0 again: each is kept as it was when it was given."""
    found = record(Reused(), pixel=5)

    assert [float(layer.maps.min()) for layer in found.layers] == [-5, 0, 0]
    assert [layer.name for layer in found.layers] == ["convolution", "relu", "relu"]


def test_nothing_stays_in_the_network() -> None:
    network = small_network(1, 3).train()

    record(network)

    assert not any(module._forward_hooks for module in network.modules())


def test_many_layers_and_maps_are_bounded() -> None:
    parts = [part for _ in range(20) for part in (nn.Conv2d(40, 40, 1), nn.ReLU())]
    found = record(nn.Sequential(nn.Conv2d(3, 40, 1), *parts, nn.Flatten(), nn.Linear(40 * 8 * 8, 2)), (8, 8, 3))

    assert len(found.layers) == layers.MAX_LAYERS
    assert found.layers_in_all == 42
    assert found.layers[-1].kind == "Linear"
    assert {layer.maps.shape for layer in found.layers[:-1]} == {(layers.MAX_MAPS, 8, 8)}


def test_no_pooling_of_a_deep_network_is_left_out() -> None:
    network = NETWORKS["vgg"].build(Task((28, 28, 1), 10))
    model = ImageClassifier(network, Output.LOGITS, torch.tensor(1 / 255), torch.tensor(0.0))
    recording = layers.record(model, np.zeros((28, 28, 1), np.uint8))
    sizes = [layer.size for layer in recording.layers if layer.kind == "MaxPool2d"]
    assert sizes == [(14, 14), (7, 7), (3, 3)]
    assert len(recording.layers) == layers.MAX_LAYERS


def test_large_maps_are_averaged_down() -> None:
    found = record(nn.Sequential(nn.Conv2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()), (224, 224, 3))

    assert found.layers[0].maps.shape == (2, 64, 64)
    assert found.layers[0].size == (224, 224)


def test_vector_in_rows_keeps_every_number() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 100))

    numbers = record(network).layers[0].maps

    assert numbers.shape == (1, 5, 20)
    assert np.count_nonzero(~np.isnan(numbers)) == 100


def test_kernels_of_a_convolution_of_colours() -> None:
    found = record(nn.Sequential(nn.Conv2d(3, 100, 5), nn.Flatten()), (8, 8, 3)).kernels

    assert found is not None
    assert (found.values.shape, found.total) == ((layers.MAX_KERNELS, 5, 5, 3), 100)


def test_kernels_of_a_network_without_a_convolution() -> None:
    """A linear layer's weights are laid out as the images are: channels first, as they come in."""
    linear = nn.Linear(8 * 6 * 3, 2)

    found = record(nn.Sequential(nn.Flatten(), linear), (8, 6, 3)).kernels

    assert found is not None
    assert found.values.shape == (2, 8, 6, 3)
    assert found.values[1, 2, 4, 1] == linear.weight[1, 1 * 48 + 2 * 6 + 4].item()


def test_no_kernels_where_none_fit() -> None:
    assert record(nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16, 2))).kernels is None
    assert record(nn.Sequential(nn.Flatten(), nn.Softmax(dim=1))).kernels is None
