"""Names of layers that people recognise: those of the training code, where the file still has them."""

from __future__ import annotations

import re
from collections import Counter

from covey_server.explaining.onnx_graph import Node

_WRAPPERS = ("network.", "model.", "module.")
_SUFFIXES = (".weight", ".weight_quantized", "/ReadVariableOp", ".kernel")
_QUANTIZED = re.compile(r"(_quantized|_DequantizeLinear(_Output)?(_\d+)?|_scale)$")


def name_of(node: Node, op: str, weight: str, used: Counter[str]) -> str:
    """The name of a layer. `weight` is the tensor of its weights; `used` counts the names so far."""
    name = _of_weight(weight) or _of_node(node.name) or _numbered(op, used)
    used[name] += 1
    return name if used[name] == 1 else f"{name}_{used[name]}"


def _of_weight(weight: str) -> str:
    """ "network.features.0.weight" -> "features.0"."""
    name = _QUANTIZED.sub("", weight)
    for suffix in _SUFFIXES:
        if name.endswith(suffix):
            name = name.removesuffix(suffix)
            for wrapper in _WRAPPERS:
                name = name.removeprefix(wrapper)
            return name
    return ""


def _of_node(name: str) -> str:
    """ "/layer1/layer1.0/relu/Relu" -> "layer1.0.relu", as the older exporter of PyTorch writes them."""
    if not name.startswith("/"):
        return ""
    path = ""
    for part in name.strip("/").split("/")[:-1]:
        path = part if not path or part.startswith(f"{path}.") else f"{path}.{part}"
    return path


def _numbered(op: str, used: Counter[str]) -> str:
    """ "MaxPool" -> "max_pool_1"."""
    stem = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", "_", op).lower()
    number = 1
    while used[f"{stem}_{number}"]:
        number += 1
    return f"{stem}_{number}"
