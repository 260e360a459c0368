"""Which networks there are: how each is built, what images it takes, what it puts out, where it comes from."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from covey_export import naming
from covey_export.errors import InvalidDataset
from covey_export.networks.cifar_net import CifarNet
from covey_export.networks.lenet import LeNet
from covey_export.networks.mlp import MultilayerPerceptron
from covey_export.networks.mnist_cnn import MnistCnn
from covey_export.networks.mnist_deep import MnistDeep


class Output(enum.Enum):
    """What a network's own last layer gives."""

    LOGITS = "logits"  # the served model adds the softmax
    PROBABILITIES = "probabilities"  # the softmax is the network's own


@dataclass(frozen=True)
class Network:
    """One network: `build(classes)` makes the module, `image_shape` is (height, width, channels)."""

    name: str
    build: Callable[[int], nn.Module]
    image_shape: tuple[int, int, int]
    output: Output
    default_dataset: str
    source: str  # the paper or tutorial

    def parameters(self, classes: int = 10) -> int:
        """How many numbers are learned. Counted without making them."""
        with torch.device("meta"):
            return sum(parameter.numel() for parameter in self.build(classes).parameters())


_GREY_28 = (28, 28, 1)

NETWORKS: Mapping[str, Network] = {
    network.name: network
    for network in (
        Network(
            "cifar-net",
            CifarNet,
            (32, 32, 3),
            Output.LOGITS,
            "cifar10",
            "PyTorch tutorials, Training a Classifier",
        ),
        Network(
            "lenet",
            LeNet,
            _GREY_28,
            Output.LOGITS,
            "mnist",
            "LeCun et al. 1998; Dive into Deep Learning, PyTorch edition, LeNet",
        ),
        Network(
            "mlp",
            MultilayerPerceptron,
            _GREY_28,
            Output.PROBABILITIES,
            "mnist",
            "Dive into Deep Learning, Multilayer Perceptrons",
        ),
        Network("mnist-cnn", MnistCnn, _GREY_28, Output.LOGITS, "mnist", "an MNIST tutorial network, 3x3 kernels"),
        Network("mnist-deep", MnistDeep, _GREY_28, Output.LOGITS, "mnist", "an MNIST tutorial network, 5x5 kernels"),
    )
}


def find_network(name: str) -> Network:
    """The network of that name. Raises UnknownName, with the nearest names."""
    if name not in NETWORKS:
        raise naming.unknown("network", name, NETWORKS)
    return NETWORKS[name]


def require_fit(network: Network, dataset: str, image_shape: tuple[int, int, int]) -> None:
    """Raises InvalidDataset where the data set's images are not of the network's size."""
    if image_shape != network.image_shape:
        raise InvalidDataset(
            f"{network.name} takes images of {_size(network.image_shape)}, {dataset} has {_size(image_shape)}; "
            f"see `covey-export list` for what fits, or use folder:PATH, which resizes images to any network"
        )


def _size(image_shape: tuple[int, int, int]) -> str:
    height, width, channels = image_shape
    return f"{height}x{width} {'grey' if channels == 1 else 'RGB'}"
