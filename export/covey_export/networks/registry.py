"""Which networks there are by name, and which one a name on the command line means."""

from __future__ import annotations

from collections.abc import Mapping

from covey_export import naming
from covey_export.errors import UnknownName
from covey_export.networks import own, timm_networks, torchvision_networks
from covey_export.networks.alexnet import AlexNet
from covey_export.networks.cifar_net import CifarNet
from covey_export.networks.conv_demo import ConvDemo
from covey_export.networks.densenet import DenseNet
from covey_export.networks.googlenet import GoogLeNet
from covey_export.networks.lenet import LeNet
from covey_export.networks.mlp import MultilayerPerceptron
from covey_export.networks.mnist_cnn import MnistCnn
from covey_export.networks.mnist_compact import MnistCompact
from covey_export.networks.mnist_deep import MnistDeep
from covey_export.networks.mobilenet import MobileNet
from covey_export.networks.network import Network, Output
from covey_export.networks.nin import NetworkInNetwork
from covey_export.networks.resnet import ResNet
from covey_export.networks.resnet9 import ResNet9
from covey_export.networks.vgg import Vgg
from covey_export.networks.wide_resnet import WideResNet

_GREY_28 = (28, 28, 1)
_RGB_32 = (32, 32, 3)


NETWORKS: Mapping[str, Network] = {
    network.name: network
    for network in (
        Network(
            "cifar-net",
            lambda task: CifarNet(task.classes),
            _RGB_32,
            "cifar10",
            "PyTorch tutorials, Training a Classifier",
        ),
        Network(
            "lenet",
            lambda task: LeNet(task.classes),
            _GREY_28,
            "mnist",
            "LeCun et al. 1998; Dive into Deep Learning, PyTorch edition, LeNet",
        ),
        Network(
            "mlp",
            lambda task: MultilayerPerceptron(task.classes, task.dropout_or(0.0)),
            _GREY_28,
            "mnist",
            "Dive into Deep Learning, Multilayer Perceptrons",
            output=Output.PROBABILITIES,
            takes_dropout=True,
        ),
        Network(
            "mnist-cnn",
            lambda task: MnistCnn(task.classes, task.dropout_or(0.0)),
            _GREY_28,
            "mnist",
            "an MNIST tutorial network, 3x3 kernels",
            takes_dropout=True,
        ),
        Network(
            "mnist-deep",
            lambda task: MnistDeep(task.classes, task.dropout_or(0.0)),
            _GREY_28,
            "mnist",
            "an MNIST tutorial network, 5x5 kernels",
            takes_dropout=True,
        ),
        Network(
            "mnist-compact",
            lambda task: MnistCompact(task.classes, task.dropout_or(0.0)),
            _GREY_28,
            "mnist",
            "Deotte 2018, An et al. 2020, for few parameters",
            takes_dropout=True,
        ),
        Network(
            "alexnet",
            lambda task: AlexNet(*task.image_shape, task.classes, task.dropout_or(0.5)),
            _GREY_28,
            "fashion-mnist",
            "Krizhevsky et al. 2012, for small images",
            smallest_side=16,
            takes_dropout=True,
        ),
        Network(
            "vgg",
            lambda task: Vgg(*task.image_shape, task.classes, task.dropout_or(0.5)),
            _GREY_28,
            "fashion-mnist",
            "Simonyan, Zisserman 2014, for small images",
            smallest_side=8,
            takes_dropout=True,
        ),
        Network(
            "nin",
            lambda task: NetworkInNetwork(task.image_shape[2], task.classes, task.dropout_or(0.3)),
            _GREY_28,
            "fashion-mnist",
            "Lin et al. 2013, for small images",
            smallest_side=8,
            takes_dropout=True,
        ),
        Network(
            "googlenet",
            lambda task: GoogLeNet(task.image_shape[2], task.classes, task.dropout_or(0.3)),
            _GREY_28,
            "fashion-mnist",
            "Szegedy et al. 2014, for small images",
            smallest_side=8,
            takes_dropout=True,
        ),
        Network(
            "resnet",
            lambda task: ResNet(task.image_shape[2], task.classes, task.dropout_or(0.0)),
            _RGB_32,
            "cifar10",
            "He et al. 2015, for small images",
            smallest_side=9,
            takes_dropout=True,
        ),
        Network(
            "resnet9",
            lambda task: ResNet9(task.image_shape[2], task.classes, task.dropout_or(0.0)),
            _RGB_32,
            "cifar10",
            "Page 2018, Jordan 2024 (airbench)",
            smallest_side=9,
            takes_dropout=True,
        ),
        Network(
            "wide-resnet",
            lambda task: WideResNet(task.image_shape[2], task.classes, task.dropout_or(0.0)),
            _GREY_28,
            "fashion-mnist",
            "Zagoruyko, Komodakis 2016 (WRN-16-2)",
            smallest_side=4,
            takes_dropout=True,
        ),
        Network(
            "densenet",
            lambda task: DenseNet(task.image_shape[2], task.classes, task.dropout_or(0.0)),
            _GREY_28,
            "fashion-mnist",
            "Huang et al. 2016 (DenseNet-BC), for small images",
            smallest_side=4,
            takes_dropout=True,
        ),
        Network(
            "mobilenet",
            lambda task: MobileNet(task.image_shape[2], task.classes, task.dropout_or(0.0)),
            _RGB_32,
            "cifar10",
            "Howard et al. 2017, for small images",
            smallest_side=4,
            takes_dropout=True,
        ),
        Network(
            "conv-demo",
            lambda task: ConvDemo(task.classes),
            (5, 5, 1),
            "demo",
            "a convolution to compute by hand, nothing is learned",
            output=Output.PROBABILITIES,
            classes=4,
        ),
    )
}


def find_network(name: str) -> Network:
    """The network of that name: one of NETWORKS, `torchvision:NAME`, `timm:NAME`, or a user's own `module:function`.

    Raises UnknownName, with the nearest names, and InvalidNetwork where a user's module cannot be imported.
    """
    if name in NETWORKS:
        return NETWORKS[name]
    own.require_no_file(name)
    if name.startswith(torchvision_networks.PREFIX):
        return torchvision_networks.find_torchvision_network(name.removeprefix(torchvision_networks.PREFIX))
    if name.startswith(timm_networks.PREFIX):
        return timm_networks.find_timm_network(name.removeprefix(timm_networks.PREFIX))
    if ":" in name:
        return own.find_own_network(name)
    own.require_no_module(name)
    if torchvision_networks.is_known(name):
        raise UnknownName(
            f"no network is named {name!r}. Did you mean {torchvision_networks.PREFIX}{name}, or "
            f"{timm_networks.PREFIX}{name}?"
        )
    libraries = [f"{prefix}NAME" for prefix in (torchvision_networks.PREFIX, timm_networks.PREFIX)]
    raise naming.unknown("network", name, [*NETWORKS, *libraries, "MODULE:FUNCTION"])
