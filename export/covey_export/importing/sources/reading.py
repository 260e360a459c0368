"""Reads a source, whatever it is: an ONNX file, a checkpoint with its network, or a folder as Hugging Face has it. Each
becomes an ONNX model."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from covey_export.errors import ExportError, InvalidSource
from covey_export.importing.sources import file_kind, hub_folder, onnx_file, ultralytics
from covey_export.importing.sources.contract import NOTHING, Contract
from covey_export.importing.sources.hub_folder import HubFolder
from covey_export.importing.sources.onnx_file import OnnxFile
from covey_export.importing.sources.processor import Size


def read(options: argparse.Namespace) -> tuple[OnnxFile, Contract]:
    """The network that `options.source` names and its contract; with `--like FOLDER` the contract is that folder's.

    Raises InvalidSource where it cannot be read, and what the reading of weights and networks raises.
    """
    if not isinstance(options.like, Path):
        return _read(options, options.image_size)
    like = hub_folder.read_contract(options.like)
    file, contract = _read(options, options.image_size or like.size)
    answers = contract if contract.labels is not None else replace(like, is_borrowed=True)
    return file, replace(
        answers,
        origin=f"{like.origin} in {options.like}",
        detail=like.detail,
        size=like.size,
        preset=like.preset,
        resizing=like.resizing,
        problem=like.problem,
        assumption="",
    )


def _read(options: argparse.Namespace, size: Size | None) -> tuple[OnnxFile, Contract]:
    """The network and its contract. `size` is (height, width) of the images, where it is known."""
    path = options.source
    folder = hub_folder.find(path) if path.is_dir() else None
    if folder is not None:
        return _of_folder(options, folder, size)
    if options.network is not None:
        if path.suffix.lower() == ".onnx":
            raise ExportError(f"{path}: an ONNX file holds its network; omit --network")
        return _of_checkpoint(path, options.network, size)
    file = onnx_file.read(path)
    contract = ultralytics.read(path, file.model)
    return (file, NOTHING) if contract is None else (replace(file, kind=ultralytics.KIND), contract)


def _of_folder(options: argparse.Namespace, folder: HubFolder, size: Size | None) -> tuple[OnnxFile, Contract]:
    if options.network is not None:
        raise ExportError(
            f"{folder.path}: its {hub_folder.CONFIG} says which network it holds; omit --network, or name the file of "
            f"weights in place of the folder"
        )
    if not folder.weights and folder.onnx is not None:
        return onnx_file.read(folder.onnx), hub_folder.contract_of(folder)
    if not folder.weights:
        raise InvalidSource(
            f"{folder.path}: expected weights beside its {hub_folder.CONFIG} (model.safetensors, pytorch_model.bin, or "
            f"model.onnx), found {hub_folder.describe_content(folder.path)}; fetch the whole folder"
        )
    with _needing_packages(folder.path):
        from covey_export.importing.sources import torch_folder

        return torch_folder.read(folder, size)


def _of_checkpoint(path: Path, network: str, size: Size | None) -> tuple[OnnxFile, Contract]:
    try:
        is_empty = not path.is_dir() and path.stat().st_size == 0
    except OSError as error:
        raise InvalidSource(f"{path}: cannot be read: {error.strerror or error}") from error
    if is_empty:
        raise InvalidSource(f"{path}: expected a checkpoint, but {file_kind.describe(b'', path)}")
    with _needing_packages(path):
        from covey_export.importing.sources import torch_checkpoint

        return torch_checkpoint.read(path, network, size)


@contextmanager
def _needing_packages(path: Path) -> Iterator[None]:
    """Raises InvalidSource where torch, or what exports its networks, is not installed."""
    try:
        import onnxscript  # noqa: F401 - which torch asks for when it exports
        import torch  # noqa: F401

        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("covey"):
            raise
        raise InvalidSource(
            f"{path}: a network of PyTorch's is exported by torch, and the package {error.name!r} is not installed: "
            f"pip install 'covey-serve[cpu,export]'; an ONNX file needs none of it"
        ) from error
