"""What the images install, before our own code is there: the extras of pyproject.toml, each to its end."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
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
