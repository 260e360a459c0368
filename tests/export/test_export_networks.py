"""The networks have exactly the shapes of their tutorials, and the recipes fit the data they are used on."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from covey_export import served_model
from covey_export.errors import InvalidDataset, UnknownName
from covey_export.networks import NETWORKS, Output, find_network, require_fit
from covey_export.recipes import RECIPES, find_recipe

# (in, out, kernel, padding) of each convolution, (in, out) of each linear layer
SHAPES: dict[str, list[tuple[int, ...]]] = {
    "cifar-net": [(3, 6, 5, 0), (6, 16, 5, 0), (400, 120), (120, 84), (84, 10)],
    "lenet": [(1, 6, 5, 0), (6, 16, 5, 0), (256, 120), (120, 84), (84, 10)],
    "mlp": [(784, 256), (256, 10)],
    "mnist-cnn": [(1, 32, 3, 1), (32, 64, 3, 1), (3136, 1024), (1024, 512), (512, 10)],
    "mnist-deep": [(1, 16, 5, 2), (16, 32, 5, 2), (32, 32, 5, 2), (32, 64, 5, 2), (3136, 10)],
}
OTHER_LAYERS: dict[str, dict[type[nn.Module], int]] = {
    "cifar-net": {nn.ReLU: 4, nn.MaxPool2d: 2},
    "lenet": {nn.Sigmoid: 4, nn.MaxPool2d: 2},
    "mlp": {nn.ReLU: 1, nn.Softmax: 1},
    "mnist-cnn": {nn.ReLU: 4, nn.MaxPool2d: 2},
    "mnist-deep": {nn.ReLU: 4, nn.MaxPool2d: 2},
}


def _shape(layer: nn.Module) -> tuple[int, ...] | None:
    if isinstance(layer, nn.Conv2d):
        assert layer.stride == (1, 1)
        return (layer.in_channels, layer.out_channels, layer.kernel_size[0], int(layer.padding[0]))
    if isinstance(layer, nn.Linear):
        return (layer.in_features, layer.out_features)
    return None


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_are_the_tutorials(name: str) -> None:
    layers = list(NETWORKS[name].build(10).modules())
    assert [shape for layer in layers if (shape := _shape(layer))] == SHAPES[name]
    for kind, count in OTHER_LAYERS[name].items():
        assert sum(isinstance(layer, kind) for layer in layers) == count


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("classes", [2, 10])
def test_served_model_gives_probabilities(name: str, classes: int) -> None:
    network = NETWORKS[name]
    torch.manual_seed(0)
    model = served_model.build(network, classes, find_recipe(name, "tutorial")).eval()
    images = torch.randint(0, 256, (3, *network.image_shape), dtype=torch.uint8)
    with torch.inference_mode():
        probabilities = model(images)
        own = model.network(model.normalise(images))
    assert probabilities.shape == (3, classes)
    assert torch.allclose(probabilities.sum(dim=1), torch.ones(3))
    assert torch.equal(own, probabilities) == (network.output is Output.PROBABILITIES)
    assert (network.output is Output.PROBABILITIES) == (name == "mlp")


def test_one_multiply_and_one_add_are_the_tutorials_normalisation() -> None:
    recipe = find_recipe("cifar-net", "tutorial")
    model = served_model.build(NETWORKS["cifar-net"], 10, recipe)
    images = torch.arange(256, dtype=torch.uint8).repeat(12).reshape(1, 32, 32, 3)
    expected = (images.permute(0, 3, 1, 2).to(torch.float64) / 255 - 0.5) / 0.5
    assert torch.allclose(model.normalise(images).to(torch.float64), expected, atol=1e-6)


@pytest.mark.parametrize(("name", "parameters"), [("cifar-net", 62_006), ("lenet", 44_426), ("mnist-cnn", 3_761_034)])
def test_parameters_are_counted(name: str, parameters: int) -> None:
    assert NETWORKS[name].parameters() == parameters


def test_recipes_are_the_tutorials() -> None:
    assert RECIPES.keys() == NETWORKS.keys()
    said = {name: find_recipe(name, "tutorial").describe() for name in NETWORKS}
    assert said["cifar-net"] == "batch 4, sgd lr 0.001 momentum 0.9, 2 epochs"
    assert said["mnist-cnn"] == "batch 64, sgd lr 0.001 momentum 0.9, 3 epochs"
    assert said["mnist-deep"] == "batch 64, adam lr 0.001, 8 epochs"
    assert find_recipe("mnist-cnn", "tutorial").checkpoint_steps == 100


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("train_images", [100, 6_000, 20_000])
def test_a_small_set_gets_as_many_steps_or_the_most_epochs(name: str, train_images: int) -> None:
    recipe = find_recipe(name, "tutorial")
    adapted = recipe.adapted_to(train_images)
    steps = adapted.epochs * train_images / adapted.batch_size
    original = recipe.epochs * recipe.train_images / recipe.batch_size
    assert 0.9 * original <= steps <= 2.2 * original or adapted.epochs == 200
    assert adapted.batch_size >= min(16, recipe.batch_size)


def test_a_full_set_keeps_the_recipe() -> None:
    recipe = find_recipe("lenet", "tutorial")
    assert recipe.adapted_to(60_000) == recipe


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(InvalidDataset, match="lenet takes images of 28x28 grey, cifar10 has 32x32 RGB"):
        require_fit(NETWORKS["lenet"], "cifar10", (32, 32, 3))


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"'lenett'. Did you mean lenet\? There are: lenet, "):
        find_network("lenett")
    with pytest.raises(UnknownName, match=r"no recipe of lenet is named 'fast'\. There are: tutorial"):
        find_recipe("lenet", "fast")
