"""Finds operations that exporters write as several nodes: SiLU, Mish, GELU, a matrix product with its bias."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass

from covey_server.explaining.onnx_graph import Graph, Node

_GATES = {"Sigmoid": "SiLU", "HardSigmoid": "HardSwish"}


@dataclass(frozen=True)
class Pattern:
    """Several nodes that are one operation. `last` gives its output, `core` says what it is (for a matrix product: the
    node of the product), `inner` are the others."""

    op: str
    core: Node
    last: int  # index in Graph.nodes
    inner: frozenset[int]
    data: str  # the tensor that it reads
    bias: str = ""


def find(graph: Graph, data: Set[str]) -> dict[int, Pattern]:
    """The patterns, by the index of their last node. `data` are the tensors that depend on the image."""
    consumers: dict[str, list[int]] = {}
    for index, node in enumerate(graph.nodes):
        for name in node.inputs:
            consumers.setdefault(name, []).append(index)
    finder = _Finder(graph.nodes, consumers, data)
    return {pattern.last: pattern for index in range(len(graph.nodes)) for pattern in finder.at(index)}


class _Finder:
    def __init__(self, nodes: tuple[Node, ...], consumers: dict[str, list[int]], data: Set[str]) -> None:
        self._nodes = nodes
        self._consumers = consumers
        self._data = data
        self._made_by = {name: index for index, node in enumerate(nodes) for name in node.outputs}

    def at(self, index: int) -> Iterator[Pattern]:
        """The pattern that the node at `index` belongs to, if there is one."""
        node = self._nodes[index]
        pattern: Pattern | None = None
        if node.op in _GATES:
            pattern = self._gated(_GATES[node.op], index, [index])
        elif node.op == "Softplus" and (tanh := self._only_reader(index)) is not None:
            if self._nodes[tanh].op == "Tanh":
                pattern = self._gated("Mish", index, [index, tanh])
        elif node.op == "Erf":
            pattern = self._gelu(index)
        elif node.op == "MatMul":
            pattern = self._with_bias(index)
        if pattern is not None:
            yield pattern

    def _gated(self, op: str, first: int, inner: list[int]) -> Pattern | None:
        """x * f(x)."""
        x, last = self._nodes[first].inputs[0], self._only_reader(inner[-1])
        if last is None or self._nodes[last].op != "Mul" or x not in self._nodes[last].inputs:
            return None
        return Pattern(op, self._nodes[last], last, frozenset(inner), x)

    def _with_bias(self, index: int) -> Pattern | None:
        """A product with constant weights, and the sum with a constant behind it."""
        product = self._nodes[index]
        if self._is_data(product.inputs[1]) or not self._is_data(product.inputs[0]):
            return None
        last = self._only_reader(index)
        if last is None or self._nodes[last].op != "Add":
            return None
        (bias,) = [name for name in self._nodes[last].inputs if name != product.outputs[0]] or [""]
        if not bias or self._is_data(bias):
            return None
        return Pattern("MatMul", product, last, frozenset((index,)), product.inputs[0], bias)

    def _gelu(self, index: int) -> Pattern | None:
        """x * (1 + erf(x / sqrt(2))) / 2, its factors in any order."""
        scaling = self._made_by.get(self._nodes[index].inputs[0])
        if scaling is None or self._nodes[scaling].op not in ("Div", "Mul"):
            return None
        scaled = [name for name in self._nodes[scaling].inputs if self._is_data(name)]
        if len(scaled) != 1:
            return None
        x = scaled[0]
        inner, last, had_x = [scaling, index], index, False
        while (following := self._only_reader(last)) is not None and self._nodes[following].op in ("Add", "Mul"):
            (other,) = [name for name in self._nodes[following].inputs if name not in self._nodes[last].outputs] or [""]
            if self._is_data(other):
                if had_x or self._nodes[following].op != "Mul":
                    break
                if other != x:  # half of it
                    half = self._made_by.get(other, -1)
                    if half < 0 or x not in self._nodes[half].inputs:
                        break
                    inner.append(half)
                had_x = True
            elif had_x and self._nodes[following].op == "Add":
                break
            inner.append(following)
            last = following
            if had_x and len(inner) >= 5:  # scaling, erf, 1 + ..., x * ..., and a half on either side
                break
        if not had_x:
            return None
        return Pattern("Gelu", self._nodes[last], last, frozenset(inner) - {last}, x)

    def _only_reader(self, index: int) -> int | None:
        readers = self._consumers.get(self._nodes[index].outputs[0], [])
        return readers[0] if len(readers) == 1 else None

    def _is_data(self, name: str) -> bool:
        return name in self._data
