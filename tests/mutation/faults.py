"""Small faults to put into a module, from its syntax tree: another comparison, a number off by one, a line left out."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
}  # fmt: skip
_NAMES = {"min": "max", "max": "min"}
# Without effect on what a module does: what it is called, what people are told, what only type checkers read.
_SKIPPED = (ast.JoinedStr, ast.Import, ast.ImportFrom, ast.Assert)
_LOGS = ("log", "logging", "warnings")


@dataclass(frozen=True)
class Fault:
    """`was`, from byte `start` to `stop` of a file, becomes `becomes`."""

    path: Path
    line: int
    start: int
    stop: int
    was: str
    becomes: str

    def __str__(self) -> str:
        was, becomes = (" ".join(text.split()) for text in (self.was, self.becomes))
        return f"{self.path}:{self.line}: `{was[:70]}` became `{becomes[:70]}`"


def faults(path: Path) -> Iterator[Fault]:
    """All that are known for a module."""
    source = path.read_bytes()
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for node, becomes in _changes(ast.parse(source)):
        start = starts[node.lineno - 1] + node.col_offset
        stop = starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
        yield Fault(path, node.lineno, start, stop, source[start:stop].decode(), becomes)


def _changes(node: ast.AST) -> Iterator[tuple[ast.stmt | ast.expr, str]]:
    """The nodes at or below this one that can be changed, with the source of what each becomes."""
    if isinstance(node, _SKIPPED) or (isinstance(node, ast.Expr) and _is_for_people(node.value)):
        return
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, (ast.stmt, ast.expr)):
        for becomes in _becomes(node):
            yield node, becomes
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "bases"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _changes(child)


def _becomes(node: ast.stmt | ast.expr) -> Iterator[str]:
    match node:
        case ast.Constant(value=bool()):
            yield str(not node.value)
        case ast.Constant(value=int() | float() as number):
            yield repr(number + 1)
        case ast.Compare(ops=[operator]) if type(operator) in _OPERATORS:
            yield _unparsed(ast.Compare(node.left, [_opposite(operator)], node.comparators))
        case ast.BoolOp():
            yield _unparsed(ast.BoolOp(_opposite(node.op), node.values))
        case ast.BinOp() if type(node.op) in _OPERATORS and not isinstance(node.left, ast.Constant | ast.JoinedStr):
            yield _unparsed(ast.BinOp(node.left, _opposite(node.op), node.right))
        case ast.UnaryOp(op=ast.Not()):
            yield _unparsed(node.operand)
        case ast.Name(id=name) if name in _NAMES:
            yield _NAMES[name]
        case ast.AugAssign() if type(node.op) in _OPERATORS:
            yield ast.unparse(ast.AugAssign(node.target, _opposite(node.op), node.value))
            yield "pass"
        case ast.Raise() | ast.Delete() | ast.Expr(value=ast.Call() | ast.Await()):
            yield "pass"
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield "pass"
        case ast.Continue():
            yield "break"
        case ast.Return(value=ast.expr()) if not isinstance(node.value, ast.Constant):
            yield "return None"


def _opposite(operator: ast.AST) -> Any:  # noqa: ANN401 - of the operator's own kind
    return _OPERATORS[type(operator)]()


def _unparsed(node: ast.AST) -> str:
    """In brackets, as an expression may stand inside another one."""
    return f"({ast.unparse(node)})"


def _is_for_people(value: ast.expr) -> bool:
    """A docstring, or a call that logs."""
    if isinstance(value, ast.Constant):
        return True
    return isinstance(value, ast.Call) and ast.unparse(value.func).partition(".")[0] in _LOGS
