"""Names the command that takes what is no model of Covey's: refusals end with it."""

from __future__ import annotations

import shlex
from pathlib import Path

from covey_proto import layout

# Of networks in other formats: the import takes them, or says what to export.
SUFFIXES = (".onnx", ".pt", ".pth", ".safetensors", ".ckpt", ".keras", ".h5", ".tflite", ".pb", "pytorch_model.bin")
_HUB_WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # of Hugging Face and timm, beside a config.json


def command(file: str | Path, models: str | Path | None = None, name: str = "") -> str:
    """`covey import` of a file. `models` and `name` are where it is to be served; of a file that lies in
    NAME/VERSION/ they are its own."""
    path, source = Path(file), str(file)
    if models is None and layout.is_version(path.parent.name) and len(path.parents) > 2:
        models, name = path.parents[2], path.parents[1].name
    if path.name in _HUB_WEIGHTS and (path.parent / "config.json").is_file():  # the folder says what they are
        source = str(path.parent)
        models = None if models is not None and Path(models) == path.parent else models
    parts = ["covey", "import", source]
    if models is not None:
        parts += ["--name", name, "--models", str(models)]
    return shlex.join(parts)
