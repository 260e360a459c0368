"""A PyTorch module as the original of an import: exported to ONNX, and asked for the answers to compare with.

One of the modules here that need torch; sources.py imports them when a source is PyTorch's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from covey_export import onnx_graph
from covey_export.errors import ConversionFailed, InvalidSource
from covey_export.importing.sources.onnx_file import MAX_BYTES, OnnxFile
from covey_export.networks.blame import first_line

Shape = tuple[int, int, int]  # height, width, channels

_BATCH = 2  # an example of one image would fix the batch axis
_PIECE = 1 << 20


class Scores(nn.Module):
    """Wraps a network so that it returns scores only: the logits of Hugging Face's outputs, the first of several."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return scores_of(self.network(images))


def scores_of(outputs: Any) -> torch.Tensor:  # noqa: ANN401 - whatever other people's networks give
    """The scores in a network's outputs. Raises TypeError where there are none."""
    if isinstance(outputs, torch.Tensor):
        return outputs
    logits = outputs.get("logits") if isinstance(outputs, Mapping) else getattr(outputs, "logits", None)
    if isinstance(logits, torch.Tensor):
        return logits
    if isinstance(outputs, tuple | list) and len(outputs) == 1 and isinstance(outputs[0], torch.Tensor):
        return outputs[0]
    raise TypeError(f"gives a {type(outputs).__name__} without logits")


def export(
    network: nn.Module, path: Path, files: Sequence[Path], shape: Shape, name: str, kind: str, input_name: str
) -> OnnxFile:
    """Exports the network as an ONNX model in memory, with PyTorch to compare with. `files` hold its weights, `path` is
    what the user named, `name` what the network is called; `kind` is that of ModelInfo.source.

    Raises InvalidSource where it does not give scores for images of `shape`, ConversionFailed where torch cannot
    export it.
    """
    module = Scores(network.float()).eval().requires_grad_(False)
    _require_small(path, module)
    height, width, channels = shape
    example = torch.zeros((_BATCH, channels, height, width))
    try:
        with torch.inference_mode():
            module(example)
    except Exception as error:
        raise InvalidSource(
            f"{path}: {name} cannot take images [N, {channels}, {height}, {width}]: {first_line(error)}; expected one "
            f"tensor of scores [N, K], or an output with logits. Say another --image-size if that is wrong"
        ) from error
    notes: tuple[str, ...] = ()
    try:
        model = onnx_graph.convert(module, example, input_name, "logits", name)
    except ConversionFailed:
        model = onnx_graph.convert(module, example[:1], input_name, "logits", name, any_batch=False)
        notes = (f"{name} can be exported for single images alone",)

    def run(images: NDArray[np.generic]) -> NDArray[np.generic]:
        with torch.inference_mode():
            return cast("NDArray[np.generic]", module(torch.from_numpy(np.array(images, np.float32))).numpy())

    opset = next(imported.version for imported in model.opset_import if not imported.domain)
    return OnnxFile(path, model, digest(files), opset, notes, kind, run, {"torch": torch.__version__})


def _require_small(path: Path, module: nn.Module) -> None:
    size_bytes = sum(4 * tensor.numel() for tensor in (*module.parameters(), *module.buffers()))
    if size_bytes > MAX_BYTES:
        raise InvalidSource(
            f"{path}: its network has {size_bytes:,} bytes of float32; a served model is one ONNX file of at most "
            f"{MAX_BYTES:,}. Import a smaller network"
        )


def digest(files: Sequence[Path]) -> str:
    """The SHA-256 of the files' contents, one after the other."""
    sha256 = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            while piece := opened.read(_PIECE):
                sha256.update(piece)
    return sha256.hexdigest()
