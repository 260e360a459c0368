"""What the images install, before our own code is there: the extras of pyproject.toml, each to its end."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, metadata

import pytest
from packaging.specifiers import SpecifierSet
from tests.deploy.compose import ROOT


def names_of(*extras: str) -> set[str]:
    """The packages that deploy/requirements.py prints, as the Dockerfile runs it."""
    command = [sys.executable, "deploy/requirements.py", *extras]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return {re.split(r"[\[<>=!;]", line)[0] for line in lines}


def test_an_extra_takes_in_those_that_it_names() -> None:
    assert names_of() == {"grpcio", "numpy", "protobuf"}
    server = names_of("cpu")
    assert {"grpcio", "onnxruntime", "pillow", "prometheus-client", "pygrpc-native"} <= server
    assert "covey-serve" not in server
    assert "torch" not in server
    assert "torch" in names_of("cpu", "export")


def test_an_extra_that_is_not_there() -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        names_of("cpus")
    assert "KeyError: 'cpus'" in caught.value.stderr


def test_every_package_of_the_images_and_of_the_documentation_is_pinned() -> None:
    pinned = set(re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text().lower(), flags=re.MULTILINE))
    wanted = {name.lower().replace("_", "-") for name in names_of("load", "cpu", "gpu", "export", "docs")}
    assert wanted <= {name.replace("_", "-") for name in pinned}


def test_pinned_versions_install_on_the_oldest_python_of_each_system() -> None:
    """Debian 12 has Python 3.11.2; `make setup` failed there since a version wanted 3.11.5."""
    unfit = []
    for name, version in re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE):
        try:
            package = metadata(name)
        except PackageNotFoundError:  # of an extra that is not installed here
            continue
        if package["Version"] != version or "Requires-Python" not in package:
            continue
        if "3.11.0" not in SpecifierSet(package["Requires-Python"]):
            unfit.append((name, version, package["Requires-Python"]))
    assert unfit == []
