"""The variants to try: every combination of the values that options are given."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from covey_export import naming
from covey_export.errors import ExportError
from covey_reports.language import say

# Options of `covey train` that a variant may set; "network" stands for the network itself.
VARIABLE = (
    "network", "recipe", "epochs", "batch-size", "optimizer", "learning-rate", "momentum", "dropout", "weight-decay",
    "label-smoothing", "augment", "precision",
)  # fmt: skip
JUDGES = ("validation", "test")  # the images by which variants are compared


@dataclass(frozen=True)
class Variant:
    """Options by name, such as (("dropout", "0.5"), ("optimizer", "sgd")); none for the recipe as it is."""

    settings: tuple[tuple[str, str], ...]

    @property
    def title(self) -> str:
        """The variant for people: "dropout 0.5, optimizer sgd"."""
        text = ", ".join(f"{name.replace('-', ' ')} {value}" for name, value in self.settings)
        return text or say("as the recipe says")

    @property
    def slug(self) -> str:
        """The variant as part of a folder's name."""
        text = "-".join(part for setting in self.settings for part in setting) or "recipe"
        return re.sub(r"[^A-Za-z0-9.=-]+", "_", text)

    def arguments(self, network: str) -> list[str]:
        """The command line of `covey train` after its name, for this variant of a network."""
        options = dict(self.settings)
        flags = [part for name, value in options.items() if name != "network" for part in (f"--{name}", value)]
        return [options.get("network", network), *flags]


def combine(varied: Sequence[str]) -> list[Variant]:
    """All combinations of "dropout=0,0.5" and the like; values with commas in them are separated by semicolons.

    Raises ExportError, UnknownName.
    """
    values: dict[str, list[str]] = {}
    for text in varied:
        name, equals, value_list = text.partition("=")
        name = name.strip().replace("_", "-")
        if not equals or not value_list.strip():
            raise ExportError(f"--vary {text!r}: expected NAME=VALUE,VALUE, as in dropout=0,0.5")
        if name not in VARIABLE:
            raise naming.unknown("option to vary", name, VARIABLE)
        if name in values:
            raise ExportError(f"--vary {name} is given twice; list all of its values behind one")
        values[name] = [part.strip() for part in value_list.split(";" if ";" in value_list else ",")]
        if len(set(values[name])) < len(values[name]) or "" in values[name]:
            raise ExportError(f"--vary {text!r}: expected different values, none of them empty")
    return [Variant(tuple(zip(values, chosen, strict=True))) for chosen in product(*values.values())]
