"""What is said of the recipes that variants are trained by: a comparison tells of networks only as far as these are
alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from covey_export.training.augmentation import NONE
from covey_export.training.recipe import Recipe
from covey_export.trials import recipes
from covey_export.trials.plan import Plan
from covey_export.trials.trial import Trial
from covey_reports.language import listing, say, words

# What may differ within one recipe and change no result: its name, and how tensors lie in memory.
_SAME_RESULT = ("name", "channels_last")

Tried = tuple[Plan, Trial]


def compares_networks(plans: Sequence[Plan]) -> bool:
    """Whether other networks are trained than the one whose recipes are meant."""
    return any(plan.network.name != plan.recipe_network.name for plan in plans)


def is_worth_a_table(plans: Sequence[Plan]) -> bool:
    """Whether variants differ in more than the option that they vary: by network or recipe, or by optimizer, which
    brings its usual learning rate."""
    names = {name for plan in plans for name, _ in plan.variant.settings}
    return not names.isdisjoint(("network", "recipe", "optimizer"))


def recipe_notes(plans: Sequence[Plan]) -> list[str]:
    """Sentences on whose recipes the networks are trained by; none where one network is tried."""
    if not compares_networks(plans):
        return []
    shared, own = [], []
    for plan in plans:
        if recipes.is_own(plan.asked):
            own.append(plan.asked)
        else:
            shared.append(recipes.full_name(plan.network, plan.recipe))
    shared, own = list(dict.fromkeys(shared)), list(dict.fromkeys(own))
    one = "All networks are trained by one recipe, {recipe}: a difference between them is that of the networks."
    several = (
        "All networks are trained by the same recipes, {recipes}: a difference between two by one recipe is that of "
        "the networks."
    )
    beside_own = (
        "By {recipes} all networks are trained alike: a difference between two by one recipe is that of the networks."
    )
    each = (
        "With --recipe {name} each network is trained by its own recipe: a difference between them is that of network "
        "and recipe together."
    )
    if own:
        alike = [say(beside_own, recipes=listing(shared))] if shared else []
    else:
        alike = [say(one, recipe=shared[0]) if len(shared) == 1 else say(several, recipes=listing(shared))]
    return [
        *alike,
        *(say(each, name=name) for name in own),
    ]


def difference_notes(tried: Sequence[Tried]) -> list[str]:
    """What differs in training although the networks share their recipe: not each can run each, or is fastest so."""
    alike: dict[object, list[Recipe]] = {}
    for plan, trial in tried:
        if not recipes.is_own(plan.asked):
            others = tuple(setting for setting in plan.variant.settings if setting[0] != "network")
            alike.setdefault(others, []).append(trial.checkpoints[0].recipe)
    differing = [
        field.name.replace("_", " ")
        for field in dataclasses.fields(Recipe)
        if field.name not in _SAME_RESULT
        and any(len({getattr(recipe, field.name) for recipe in group}) > 1 for group in alike.values())
    ]
    more = (
        "But they differ in more than the network: {fields}. Not every network can be trained alike, or is fastest so."
    )
    hint = "The precision was chosen by speed; --vary precision=float32 makes it alike."
    return [
        *([say(more, fields=listing(differing))] if differing else []),
        *([say(hint)] if "precision" in differing else []),
    ]


def header() -> tuple[str, ...]:
    """The header of `rows`."""
    return words("variant", "recipe", "how", "pixels", "images are changed by")


def rows(tried: Sequence[Tried]) -> list[tuple[str, ...]]:
    """How each variant was trained, with what its data set and options changed; those that are alike share a row."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for plan, trial in tried:
        recipe = trial.checkpoints[0].recipe
        mean, std = (", ".join(f"{number:g}" for number in numbers or ()) for numbers in (recipe.mean, recipe.std))
        row = (
            recipes.full_name(plan.network, plan.recipe),
            recipe.describe(),
            f"mean {mean}, deviation {std}",
            (recipe.augmentation or NONE).describe(),
        )
        alike.setdefault(row, []).append(trial.variant.title)
    return [(say("all") if len(titles) == len(tried) else "; ".join(titles), *row) for row, titles in alike.items()]
