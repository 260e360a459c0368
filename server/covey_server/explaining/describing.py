"""Describes layers in words: what each does, with its numbers."""

from __future__ import annotations

from collections.abc import Mapping

from covey_server.explaining.functions import FORMULAS
from covey_server.explaining.layers import Layer
from covey_server.explaining.windows import Axis, axes


def describe(layer: Layer, shapes: Mapping[int, tuple[int, ...]]) -> str:
    """One line about a layer; "" where its kind says all. `shapes` are those of all layers' answers."""
    shape = shapes[layer.index]
    source = shapes[layer.inputs[0]] if layer.inputs else ()
    windows = axes(layer, source, shape)
    match layer.kind:
        case "input":
            channels, height, width = shape
            return f"{height} x {width} pixels, {'grey' if channels == 1 else f'{channels} channels'}, as prepared"
        case "convolution" if windows is not None:
            return _filters(layer, source, windows)
        case "fully_connected":
            inputs = layer.weight_shape[-1 if layer.node.attributes.get("transB") else 0] if layer.weight_shape else 0
            return f"each of {shape[-1]:,} outputs reads all {inputs:,} inputs"
        case "max_pooling" | "average_pooling":
            statistic = "the greatest" if layer.kind == "max_pooling" else "the mean"
            if windows is None or all(axis.size == size for axis, size in zip(windows, source[1:], strict=True)):
                return f"{statistic} of each map"
            return f"{statistic} of each {_sizes(windows)}, {_moved(windows)}"
        case "activation":
            return FORMULAS.get(layer.op, "")
        case "addition" | "multiplication" | "concatenation":
            return f"of {len(layer.inputs)} layers"
        case "flatten":
            return f"{' x '.join(map(str, source))} as one row of {shape[-1]:,}"
        case "softmax":
            return f"{shape[-1]:,} scores become probabilities, which add up to 1"
        case "normalization":
            return "each channel shifted and scaled" if layer.op == "BatchNormalization" else layer.op
        case "other" if layer.op in ("Scan", "Loop", "If"):
            return "a part of the network that runs image by image; what is in it is not shown"
    return layer.op


def _filters(layer: Layer, source: tuple[int, ...], windows: tuple[Axis, Axis]) -> str:
    count, group = layer.weight_shape[0], int(layer.node.attributes.get("group") or 1)
    if group == 1:
        reads = f"over {source[0]} channel{'s' if source[0] > 1 else ''}"
    elif group == source[0]:
        reads = "each over one channel"
    else:
        reads = f"in {group} groups, each over {source[0] // group} channels"
    return f"{count} filter{'s' if count > 1 else ''} of {_sizes(windows)} {reads}, {_moved(windows)}"


def _sizes(windows: tuple[Axis, Axis]) -> str:
    return f"{windows[0].size} x {windows[1].size}"


def _moved(windows: tuple[Axis, Axis]) -> str:
    down, right = windows
    parts = [f"stride {_both(down.stride, right.stride)}"]
    if down.dilation > 1 or right.dilation > 1:
        parts.append(f"dilation {_both(down.dilation, right.dilation)}")
    parts.append(f"padding {_both(down.before, right.before)}" if down.before or right.before else "no padding")
    return ", ".join(parts)


def _both(down: int, right: int) -> str:
    return str(down) if down == right else f"{down} x {right}"
