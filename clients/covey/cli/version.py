"""`covey version`: what is installed, for a report of a bug."""

from __future__ import annotations

import argparse

from covey import __version__
from covey.cli.exits import Exit

NAME = "version"
SUMMARY = "print the versions of Covey and of what it runs on"
DESCRIPTION = "Print the versions of Covey, Python, and the packages that it uses and that are installed."
PACKAGES = ("grpcio", "protobuf", "numpy", "onnxruntime", "onnxruntime-gpu", "pygrpc-native", "onnx", "torch")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    del parser  # it has none


def run(options: argparse.Namespace) -> Exit:
    """Imports none of the packages: that would take seconds."""
    import platform  # here, as with metadata below: no other command waits for them

    del options
    print(f"covey {__version__}")
    print(f"Python {platform.python_version()}, {platform.system()} {platform.machine()}")
    for name in PACKAGES:
        if version := installed(name):
            print(f"{name} {version}")
    return Exit.OK


def installed(package: str) -> str:
    """The version of an installed package; empty where there is none."""
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
