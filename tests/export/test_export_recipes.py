"""Recipes: the tutorials' own numbers, and how a recipe comes to fit the data it is used on."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch

from covey_export import image_classifier
from covey_export.datasets import CATALOGUE, Dataset, Family
from covey_export.errors import InvalidRecipe, UnknownName
from covey_export.networks import NETWORKS, Task
from covey_export.training import progressive
from covey_export.training.augmentation import NONE, Augmentation, of_family
from covey_export.training.recipe import Recipe
from covey_export.training.recipes import OTHER_DATASETS, RECIPES, find_recipe, recipes_of

TAUGHT = [(name, recipe) for name, recipes in RECIPES.items() for recipe in recipes if name != "conv-demo"]
BY_SGD = [name for name, recipes in RECIPES.items() if "best" in recipes and recipes["best"].optimizer == "sgd"]


def _of_two_colours(dataset: Dataset) -> Dataset:
    """RGB images: red is 0 in one half and 255 in the other, green is 51 everywhere, blue is 0."""
    images = np.zeros((10, 28, 28, 3), np.uint8)
    images[:5, ..., 0] = 255
    images[..., 1] = 51
    labels = np.arange(10) % 2
    return dataclasses.replace(
        dataset, name="mine", train_images=images, train_labels=labels, test_images=images, test_labels=labels
    )


def test_recipes_are_the_tutorials() -> None:
    assert RECIPES.keys() == NETWORKS.keys()
    said = {name: find_recipe(name).describe() for name in NETWORKS}
    assert said["cifar-net"] == "batch 4, sgd lr 0.001 momentum 0.9, 2 epochs"
    assert said["mnist-cnn"] == "batch 64, sgd lr 0.001 momentum 0.9, 3 epochs"
    assert said["mnist-deep"] == "batch 64, adam lr 0.001, not shuffled, 8 epochs"
    assert ", weight decay 0.001, bias rate 64, label smoothing 0.2, " in said["resnet"]
    assert find_recipe("mnist-cnn", "tutorial").checkpoint_steps == 100
    for name in ("cifar-net", "mnist-cnn"):
        assert find_recipe(name).mean == find_recipe(name).std == (0.5,)
    assert (find_recipe("mnist-deep").mean, find_recipe("mnist-deep").std) == ((0.0,), (1.0,))


@pytest.mark.parametrize("name", NETWORKS)
def test_each_recipe_has_its_name_and_the_first_is_usual(name: str) -> None:
    recipes = recipes_of(name)
    assert [recipe.name for recipe in recipes.values()] == list(recipes)
    assert find_recipe(name) is next(iter(recipes.values()))
    if name == "conv-demo":
        assert list(recipes) == ["tutorial"], "nothing is learned there"
    else:
        assert find_recipe(name, "fine-tune").freeze is False
        assert "best" in recipes


def test_a_data_set_may_have_its_own_recipe() -> None:
    usual, clothes = find_recipe("lenet", "best"), find_recipe("lenet", "best", "fashion-mnist")
    assert usual.augmentation is None
    assert clothes.augmentation == Augmentation(shift=0.04)
    assert clothes.epochs > usual.epochs
    assert find_recipe("lenet", "best", "mnist") is usual
    assert find_recipe("lenet", None, "fashion-mnist") is find_recipe("lenet", "tutorial")
    assert find_recipe("torchvision:resnet18", "best", "fashion-mnist") is find_recipe("torchvision:resnet18", "best")


@pytest.mark.parametrize(("network", "dataset"), OTHER_DATASETS)
def test_recipes_for_other_data_sets_are_of_known_names_and_differ(network: str, dataset: str) -> None:
    assert dataset in CATALOGUE
    assert dataset != NETWORKS[network].default_dataset
    for name, recipe in OTHER_DATASETS[network, dataset].items():
        assert recipe.name == name
        assert recipe != RECIPES[network][name]


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"no recipe of lenet is named 'fast'.*There are: .*tutorial"):
        find_recipe("lenet", "fast")
    with pytest.raises(UnknownName, match=r"no recipe of vgg is named 'tutorial'.*, or NETWORK-RECIPE, as in"):
        find_recipe("vgg", "tutorial")
    with pytest.raises(UnknownName, match="Did you mean lenet-tutorial"):
        find_recipe("vgg", "lenet-tutor")


@pytest.mark.parametrize("name", ["lenet", "vgg", "torchvision:resnet18", "mine:Net"])
def test_each_network_can_use_the_recipes_of_the_others(name: str) -> None:
    lent = find_recipe(name, "mlp-best")
    assert lent == dataclasses.replace(find_recipe("mlp", "best"), name="mlp-best")
    clothes = find_recipe(name, "lenet-best", "fashion-mnist")
    assert clothes.epochs == find_recipe("lenet", "best", "fashion-mnist").epochs


def test_a_network_s_own_recipe_by_its_long_name_is_the_same_one() -> None:
    assert find_recipe("lenet", "lenet-tutorial") is find_recipe("lenet", "tutorial")
    assert find_recipe("lenet", "lenet-best", "fashion-mnist") is find_recipe("lenet", "best", "fashion-mnist")


def test_where_nothing_is_learned_no_recipe_helps() -> None:
    with pytest.raises(UnknownName, match=r"no recipe of conv-demo is named 'lenet-best'. There are: tutorial$"):
        find_recipe("conv-demo", "lenet-best")
    with pytest.raises(UnknownName):
        find_recipe("lenet", "conv-demo-tutorial")


@pytest.mark.parametrize(("name", "recipe_name"), TAUGHT)
@pytest.mark.parametrize("train_images", [100, 6_000, 20_000])
def test_a_small_set_gets_as_many_steps_or_the_most_epochs(name: str, recipe_name: str, train_images: int) -> None:
    recipe = find_recipe(name, recipe_name)
    adapted = recipe.adapted_to(train_images)
    steps = adapted.epochs * train_images / adapted.batch_size
    original = recipe.epochs * recipe.train_images / recipe.batch_size
    assert 0.9 * original <= steps <= 2.2 * original or adapted.epochs == 200
    assert adapted.batch_size >= min(16, recipe.batch_size)


@pytest.mark.parametrize("name", BY_SGD)
@pytest.mark.parametrize("train_images", [100, 6_000, 20_000])
def test_the_peak_of_a_one_cycle_sgd_shrinks_with_the_batch(name: str, train_images: int) -> None:
    recipe = find_recipe(name, "best")
    adapted = recipe.adapted_to(train_images)
    assert adapted.batch_size < recipe.batch_size
    assert adapted.learning_rate / adapted.batch_size == pytest.approx(recipe.learning_rate / recipe.batch_size)


def test_recipes_on_the_sample() -> None:
    resnet = find_recipe("resnet").adapted_to(6_000)
    assert (resnet.batch_size, resnet.learning_rate, resnet.epochs) == (32, 0.25 / 8, 38)
    fine_tuned = find_recipe("torchvision:resnet18", "fine-tune").adapted_to(400)
    assert (fine_tuned.batch_size, fine_tuned.learning_rate) == (16, 0.0025)
    for name in ("lenet", "mlp", "mnist-cnn", "mnist-deep"):
        for kind in ("tutorial", "best"):  # a constant rate, and AdamW
            recipe = find_recipe(name, kind)
            assert recipe.adapted_to(6_000).learning_rate == recipe.learning_rate


@pytest.mark.parametrize(("name", "train_images"), [("lenet", 60_000), ("lenet", 40_000), ("conv-demo", 10)])
def test_a_full_set_keeps_the_recipe_and_nothing_to_learn_stays_so(name: str, train_images: int) -> None:
    recipe = find_recipe(name)
    assert recipe.adapted_to(train_images) == recipe


def test_what_the_recipe_leaves_open_is_the_data_sets(small: Dataset) -> None:
    recipe = dataclasses.replace(find_recipe("lenet"), mean=None, std=None, augmentation=None)
    fitted = recipe.fitted_to(small)
    assert fitted.augmentation == of_family(Family.PHOTOGRAPHS)
    assert fitted.mean == pytest.approx((small.train_images.mean() / 255,), abs=1e-4)
    assert fitted.std == pytest.approx((small.train_images.std() / 255,), abs=1e-4)
    stated = dataclasses.replace(recipe, mean=(0.1,), std=(0.2,), augmentation=NONE).fitted_to(small)
    assert (stated.mean, stated.std, stated.augmentation) == ((0.1,), (0.2,), NONE)


def test_each_channel_has_its_own_mean_and_one_colour_is_no_division_by_zero(small: Dataset) -> None:
    dataset = _of_two_colours(small)
    fitted = dataclasses.replace(find_recipe("nin"), epochs=1).fitted_to(dataset)
    assert fitted.mean == (0.5, 0.2, 0.0)
    assert fitted.std == (0.5, 1e-4, 1e-4)
    network = NETWORKS["nin"].fitted_to("mine", (28, 28, 3))
    model = image_classifier.build(network, 2, fitted)
    pixels = model.normalise(torch.tensor(dataset.train_images))
    assert pixels[:, 0].mean().item() == pytest.approx(0, abs=1e-6)
    assert pixels[:, 0].std(correction=0).item() == pytest.approx(1)
    assert pixels[:, 1:].abs().max().item() < 1e-2


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"optimizer": "mion"}, "optimizer is 'mion'; expected one of sgd, adam, adamw, muon, lion"),
        ({"optimizer": "lion", "momentum": 0.9}, "momentum is 0.9 with lion, which has its own; expected 0, or one of"),
        ({"nesterov": True}, "nesterov without momentum; expected a momentum above 0"),
        ({"momentum": 1.0}, "momentum is 1.0; expected a number from 0 to below 1"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; expected a number above 0"),
        ({"weight_decay": math.nan}, "weight_decay is nan; expected a number from 0 up"),
        ({"batch_size": 0}, "batch_size is 0; expected a whole number from 1 up"),
        ({"epochs": -1}, "epochs is -1; expected a whole number from 0 up"),
        ({"schedule": "linear"}, "schedule is 'linear'; expected one of constant, one-cycle"),
        ({"warm_up": 1.0}, "warm_up is 1.0; expected"),
        ({"averaging": 1.0}, "averaging is 1.0; expected a number from 0 to below 1"),
        ({"precision": "float16"}, "precision is 'float16'; expected one of float32, bfloat16, auto"),
        ({"first_size": 0.0}, "first_size is 0.0; expected a number above 0, at most 1"),
        ({"log_steps": 0}, "log_steps is 0; expected"),
    ],
)
def test_what_nothing_could_be_trained_by_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidRecipe, match=f"^recipe 'tutorial': {says}"):
        dataclasses.replace(find_recipe("mlp"), **changes)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_that_begin_with_small_images_can_take_them(name: str) -> None:
    """Also the smallest images that the network can be built for."""
    network = NETWORKS[name]
    for recipe in recipes_of(name).values():
        if recipe.first_size == 1:
            continue
        assert network.smallest_side is not None
        for shape in (network.image_shape, (network.smallest_side, network.smallest_side, 3)):
            module = network.build(Task(shape, 10)).eval()
            images = torch.rand(2, shape[2], *shape[:2])
            with torch.inference_mode():
                assert module(progressive.shrink(images, recipe.first_size, 0.0)).shape == (2, 10)


def test_a_recipe_survives_its_way_through_a_file() -> None:
    for name in NETWORKS:
        for recipe in recipes_of(name).values():
            assert Recipe.from_fields(dataclasses.asdict(recipe)) == recipe
