"""Prints what some extras of pyproject.toml require, one a line, for pip: an image's packages before the code is there.

Reads pyproject.toml of the folder it is started in. An extra that names another one of ours takes it in.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path


def requirements(project: Mapping[str, object], extras: Sequence[str]) -> list[str]:
    """The requirements of the project and of these extras, in order. Raises KeyError for an extra that is not there."""
    name, dependencies, optional = project["name"], project["dependencies"], project["optional-dependencies"]
    assert isinstance(dependencies, list)
    assert isinstance(optional, dict)
    own = re.compile(rf"{name}\[([\w,-]+)\]")

    def of_extra(extra: str) -> list[str]:
        found: list[str] = []
        for requirement in optional[extra]:
            names = own.fullmatch(requirement)
            found += [each for inner in names[1].split(",") for each in of_extra(inner)] if names else [requirement]
        return found

    return dependencies + [requirement for extra in extras for requirement in of_extra(extra)]


if __name__ == "__main__":
    PROJECT = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    print("\n".join(requirements(PROJECT, sys.argv[1:])))
