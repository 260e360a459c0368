"""The windows of convolutions and poolings: which part of its input a place of a layer reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from covey_server.explaining.layers import Layer

_WHOLE_MAP = {"GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax"}


@dataclass(frozen=True)
class Axis:
    """A window along one axis: `size` places that are `dilation` apart, moved by `stride`, `before` in padding."""

    size: int
    stride: int = 1
    dilation: int = 1
    before: int = 0

    def places(self, position: int) -> list[int]:
        """The positions that the output's place `position` reads; below 0 and from the input's size on they are
        padding."""
        first = position * self.stride - self.before
        return [first + step * self.dilation for step in range(self.size)]


def axes(layer: Layer, source: tuple[int, ...], shape: tuple[int, ...]) -> tuple[Axis, Axis] | None:
    """The windows of a layer in rows and columns, `source` and `shape` being `[C, H, W]` of its input and its output;
    None for layers that read no windows."""
    if len(source) != 3:
        return None
    if layer.op in _WHOLE_MAP:
        return Axis(source[1]), Axis(source[2])
    if len(shape) != 3 or layer.op not in ("Conv", "MaxPool", "AveragePool"):
        return None
    attributes: dict[str, Any] = layer.node.attributes
    sizes = layer.weight_shape[2:] if layer.op == "Conv" else attributes.get("kernel_shape", ())
    if len(sizes) != 2:
        return None
    strides, dilations = attributes.get("strides") or [1, 1], attributes.get("dilations") or [1, 1]
    pads = attributes.get("pads") or [0, 0, 0, 0]
    automatic = attributes.get("auto_pad") or "NOTSET"
    windows = []
    for axis in (0, 1):
        before = pads[axis]
        if automatic.startswith("SAME"):
            covered = (shape[1 + axis] - 1) * strides[axis] + (sizes[axis] - 1) * dilations[axis] + 1
            missing = max(0, covered - source[1 + axis])
            before = missing // 2 if automatic == "SAME_UPPER" else missing - missing // 2
        elif automatic == "VALID":
            before = 0
        windows.append(Axis(sizes[axis], strides[axis], dilations[axis], before))
    return windows[0], windows[1]
