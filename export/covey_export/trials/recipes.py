"""By which recipe a variant is trained.

Where networks are varied all are trained by one recipe, so that a difference between them is not one of their recipes.
Whoever wants each network's own says so: then network and recipe are compared together.
"""

from __future__ import annotations

from dataclasses import replace

from covey_export.errors import UnknownName
from covey_export.networks import Network
from covey_export.training.recipe import Recipe
from covey_export.training.recipes import find_recipe, recipes_of

OWN = "own"  # each network's first recipe; own-NAME is each network's recipe of that name


def is_own(name: str | None) -> bool:
    """Whether this asks for each network's own recipe."""
    return name is not None and (name == OWN or name.startswith(f"{OWN}-"))


def find(network: Network, recipe_network: Network, name: str | None, dataset: str) -> Recipe:
    """The recipe to train `network` by: the one of `recipe_network` with this name (None: its first), or the network's
    own where `is_own(name)`.

    A recipe's dropout is left out for a network that has none. Raises UnknownName.
    """
    if name is not None and is_own(name):
        return find_recipe(network.name, name[len(OWN) + 1 :] or None, dataset)
    try:
        recipe = find_recipe(recipe_network.name, name, dataset)
    except UnknownName as error:
        raise UnknownName(f"{error}, or {OWN} for each network's own") from error
    if network.name != recipe_network.name and recipe.name in recipes_of(recipe_network.name):
        recipe = replace(recipe, name=full_name(recipe_network, recipe))
    return recipe if network.takes_dropout else replace(recipe, dropout=None)


def full_name(network: Network, recipe: Recipe) -> str:
    """NETWORK-RECIPE, as any network's --recipe takes it; `recipe` is the network's own, or one that is named so."""
    return f"{network.name}-{recipe.name}" if recipe.name in recipes_of(network.name) else recipe.name
