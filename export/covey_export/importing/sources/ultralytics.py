"""What Ultralytics writes into the ONNX files that it exports: labels, size, task."""

from __future__ import annotations

import ast
from pathlib import Path

import onnx

from covey_export.errors import InvalidSource
from covey_export.importing.settings.resizing import Resizing
from covey_export.importing.sources import contract
from covey_export.importing.sources.contract import Contract
from covey_proto.interpolation import Interpolation
from covey_proto.resize import Resize

KIND = "ultralytics"
_KEYS = {"task", "names", "imgsz", "stride"}


def read(path: Path, model: onnx.ModelProto) -> Contract | None:
    """None: the file is not of Ultralytics. Raises InvalidSource where it is no classifier.

    Ultralytics prepares images as torchvision does: the shorter side to the size (bilinear), the centre cut out, pixels
    of 0..1; an image for a size that is not square is stretched.
    """
    found = {each.key: each.value for each in model.metadata_props}
    if not found.keys() >= _KEYS:
        return None
    if found["task"] != "classify":
        raise InvalidSource(
            f"{path}: is Ultralytics' export of a network for the task {found['task']!r}; expected 'classify', as the "
            f"networks named ...-cls have"
        )
    try:
        names = ast.literal_eval(found["names"])
        size = ast.literal_eval(found["imgsz"])
        labels = [str(names[place]) for place in range(len(names))]
        height, width = (int(each) for each in (size if isinstance(size, list | tuple) else (size, size)))
    except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError) as error:
        raise InvalidSource(
            f"{path}: its metadata cannot be read: expected imgsz [H, W] and names {{0: 'cat', ...}}, got "
            f"{found['imgsz'][:40]!r} and {found['names'][:40]!r}; export it again with yolo export format=onnx"
        ) from error
    is_square = height == width
    said = Contract(
        "Ultralytics' metadata",
        f"imgsz {height}x{width}",
        (height, width),
        contract.preset((0.0,), (1.0,)),
        Resizing(
            Resize.SHORTER_SIDE if is_square else Resize.STRETCH,
            height if is_square else 0,
            Interpolation.BILINEAR,
            background="",
        ),
    )
    return contract.with_labels(said, labels, "names of Ultralytics' metadata")
