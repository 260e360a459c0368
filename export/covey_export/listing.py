"""What there is to train, and on what: the rows that `covey-export list` shows."""

from __future__ import annotations

from pathlib import Path

from covey_export.datasets import CATALOGUE, Folder
from covey_export.networks import NETWORKS
from covey_export.recipes import RECIPES

NETWORK_HEADER = ("name", "input", "parameters", "default data set", "recipe", "from")
DATASET_HEADER = ("name", "images", "holds", "where")

Row = tuple[str, ...]


def network_rows() -> list[Row]:
    """One row a network and recipe, in the order of NETWORK_HEADER."""
    return [
        (
            network.name,
            _size(network.image_shape),
            f"{network.parameters():,}",
            network.default_dataset,
            f"{recipe.name}: {recipe.describe()}",
            network.source,
        )
        for network in NETWORKS.values()
        for recipe in RECIPES[network.name].values()
    ]


def dataset_rows(data_dir: Path | None) -> list[Row]:
    """One row a data set, in the order of DATASET_HEADER, with where it was found or how to get it."""
    rows: list[Row] = [
        (entry.name, _size(entry.image_shape), entry.summary, entry.availability(data_dir))
        for entry in CATALOGUE.values()
    ]
    return [*rows, ("folder:PATH", _size(Folder.image_shape), Folder.summary, "your own images")]


def _size(image_shape: tuple[int, int, int] | None) -> str:
    return "x".join(map(str, image_shape)) if image_shape else "any"
