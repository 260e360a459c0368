"""What there is to train, and on what: the rows that `covey export list` shows."""

from __future__ import annotations

from pathlib import Path

from covey_export.datasets import CATALOGUE, Capture, Dataset, Folder
from covey_export.networks import NETWORKS, Network
from covey_export.training.recipe import Recipe
from covey_export.training.recipes import FINE_TUNE, OTHER_DATASETS, recipes_of

NETWORK_HEADER = ("name", "input", "parameters", "default data set", "recipes", "from")
RECIPE_HEADER = ("recipe", "how", "images are changed by")
DATASET_HEADER = ("name", "images", "holds", "where")

OWN = "MODULE:FUNCTION"
LENT = "Each network can also be trained by another one's recipe, as NETWORK-RECIPE: --recipe lenet-best."

Row = tuple[str, ...]


def network_rows() -> list[Row]:
    """One row a network, in the order of NETWORK_HEADER, and how to name those that are not Covey's."""
    own = [
        (
            network.name,
            _size(network.image_shape) + (f", or from {network.smallest_side} up" if network.smallest_side else ""),
            f"{network.parameters():,}",
            network.default_dataset,
            _recipes(network.name),
            network.source,
        )
        for network in NETWORKS.values()
    ]
    others = (
        ("torchvision:NAME", "224x224x3, or others", "cifar10", "torchvision's classification networks"),
        (OWN, "any", "sample", "your own function that returns an nn.Module"),
    )
    return [*own, *((name, images, "", dataset, _recipes(name), source) for name, images, dataset, source in others)]


def recipe_rows(network: Network, dataset: Dataset | None = None) -> list[Row]:
    """One row a recipe of the network, in the order of RECIPE_HEADER; those for one data set name it. With `dataset`
    only those for it, as they are for so many images."""
    if dataset is not None:
        fitted = {name: recipe.fitted_to(dataset) for name, recipe in recipes_of(network.name, dataset.name).items()}
        return [(name, recipe.describe(), _changes_of_images(recipe)) for name, recipe in fitted.items()]
    usual = [(recipe.name, recipe) for recipe in recipes_of(network.name).values()]
    others = [
        (f"{recipe.name} on {dataset}", recipe)
        for (name, dataset), recipes in OTHER_DATASETS.items()
        for recipe in recipes.values()
        if name == network.name
    ]
    return [(name, recipe.describe(), _changes_of_images(recipe)) for name, recipe in [*usual, *others]]


def recipe_notes(network: Network, dataset: Dataset | None) -> list[str]:
    """What is to be known of these rows; nothing of a network that does not learn."""
    recipes = recipes_of(network.name)
    if not any(recipe.epochs for recipe in recipes.values()):
        return []
    made_for = {recipe.train_images for name, recipe in recipes.items() if name != FINE_TUNE}
    small = (
        f"Made for {' or '.join(f'{images:,}' for images in sorted(made_for))} training images: of less than half as "
        f"many, batches are smaller and epochs more, so that there are as many steps; --dataset NAME shows them so."
    )
    return [*([small] if dataset is None else []), LENT]


def dataset_rows(data_dir: Path | None) -> list[Row]:
    """One row a data set, in the order of DATASET_HEADER, with where it was found or how to get it."""
    rows: list[Row] = [
        (entry.name, _size(entry.image_shape), entry.summary, entry.availability(data_dir))
        for entry in CATALOGUE.values()
    ]
    own = (("folder:PATH", Folder, "your own images"), ("capture:PATH", Capture, "what a server has captured"))
    return [*rows, *((name, _size(kind.image_shape), kind.summary, source) for name, kind, source in own)]


def _recipes(network: str) -> str:
    return ", ".join(name for name in recipes_of(network) if name != FINE_TUNE or network not in NETWORKS)


def _changes_of_images(recipe: Recipe) -> str:
    if recipe.augmentation is None:
        return "what suits the data set"
    return recipe.augmentation.describe() + (" (flip where images may be mirrored)" if recipe.augmentation.flip else "")


def _size(image_shape: tuple[int, int, int] | None) -> str:
    return "x".join(map(str, image_shape)) if image_shape else "any"
