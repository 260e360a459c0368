"""What Ultralytics writes into the ONNX files that it exports: labels, size, task."""

from __future__ import annotations

import ast
from pathlib import Path

import onnx

from covey_export.errors import InvalidSource
from covey_export.importing.settings.resizing import Resizing
from covey_export.importing.sources.contract import Contract, preset_of
from covey_proto.interpolation import Interpolation
from covey_proto.resize import Resize

KIND = "ultralytics"
_KEYS = {"task", "names", "imgsz", "stride"}


def read(path: Path, model: onnx.ModelProto) -> Contract | None:
    """The contract in the file's metadata; None where the file is not of Ultralytics. Raises InvalidSource where it is
    no classifier.

    Ultralytics prepares images as torchvision does: the shorter side to the size (bilinear), the centre cut out, pixels
    of 0..1; an image for a size that is not square is stretched.
    """
    properties = {entry.key: entry.value for entry in model.metadata_props}
    if not properties.keys() >= _KEYS:
        return None
    if properties["task"] != "classify":
        raise InvalidSource(
            f"{path}: is Ultralytics' export of a network for the task {properties['task']!r}; expected 'classify', as "
            f"the networks named ...-cls have"
        )
    try:
        names = ast.literal_eval(properties["names"])
        size = ast.literal_eval(properties["imgsz"])
        labels = [str(names[index]) for index in range(len(names))]
        height, width = (int(length) for length in (size if isinstance(size, list | tuple) else (size, size)))
    except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError) as error:
        raise InvalidSource(
            f"{path}: its metadata cannot be read: expected imgsz [H, W] and names {{0: 'cat', ...}}, got "
            f"{properties['imgsz'][:40]!r} and {properties['names'][:40]!r}; export it again with yolo export "
            f"format=onnx"
        ) from error
    is_square = height == width
    contract = Contract(
        "Ultralytics' metadata",
        f"imgsz {height}x{width}",
        (height, width),
        preset_of((0.0,), (1.0,)),
        Resizing(
            Resize.SHORTER_SIDE if is_square else Resize.STRETCH,
            height if is_square else 0,
            Interpolation.BILINEAR,
            background="",
        ),
    )
    return contract.with_labels(labels, "names of Ultralytics' metadata")
