"""Every English text that pages say, read from the source: Python, templates and the pages' scripts."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import numpy as np
from bench.processes import ROOT
from jinja2 import Environment, nodes

from covey_export.examination import corruptions, unknown
from covey_reports.page import texts_of_scripts
from covey_server.explaining.layers import KINDS

SOURCES = (ROOT / "export" / "covey_export", ROOT / "proto" / "covey_reports")
COUNTED = "{{count}} {}"  # as the catalogue has what is counted
SPEAKING = {"say": 0, "words": None, "counted": 1}  # functions, and which argument is a text; None: all


def said() -> dict[str, str]:
    """Each text, and the file that says it."""
    found: dict[str, str] = {}
    for folder in SOURCES:
        for path in sorted(folder.rglob("*.py")):
            found |= dict.fromkeys(_of_python(path), str(path.relative_to(ROOT)))
        for path in sorted(folder.rglob("*.jinja")):
            found |= dict.fromkeys(_of_template(path), str(path.relative_to(ROOT)))
    for script in (resources.files("covey_reports") / "scripts").iterdir():
        found |= dict.fromkeys(texts_of_scripts(script.read_text(encoding="utf-8")), script.name)
    found |= dict.fromkeys((kind.replace("_", " ") for kind in KINDS), "covey_server/explaining/layers.py")
    synthetic_images = unknown.synthetic_images(np.zeros((1, 8, 8, 1), np.uint8))
    found |= dict.fromkeys((*corruptions.KINDS, *unknown.CERTAINTIES, *synthetic_images), "covey_export/examination")
    return {" ".join(text.split()): place for text, place in found.items()}


def _of_python(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    constants: dict[str, list[ast.expr]] = {}  # what names stand for
    for node in ast.walk(tree):
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(node, ast.Assign) and isinstance(target, ast.Name):
            constants.setdefault(target.id, []).append(node.value)
        elif isinstance(node, ast.Assign) and isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            for element, value in zip(target.elts, node.value.elts, strict=True):
                constants.setdefault(getattr(element, "id", ""), []).append(value)
    for call in ast.walk(tree):
        name = _name(call.func) if isinstance(call, ast.Call) else ""
        if not isinstance(call, ast.Call) or name not in SPEAKING:
            continue
        place = SPEAKING[name]
        for argument in call.args if place is None else call.args[place : place + 1]:
            for text in _texts(argument, constants):
                yield COUNTED.format(text) if name == "counted" else text


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _texts(node: ast.AST, constants: dict[str, list[ast.expr]]) -> Iterator[str]:
    """The strings that an argument may be: itself, or what its name, of its module or its function, stands for."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from _texts(node.body, constants)
        yield from _texts(node.orelse, constants)
    elif isinstance(node, ast.Starred | ast.Subscript):
        yield from _texts(node.value, constants)
    elif isinstance(node, ast.Tuple):
        for each in node.elts:
            yield from _texts(each, constants)
    elif isinstance(node, ast.Dict):
        for value in node.values:
            yield from _texts(value, constants)
    elif isinstance(node, ast.Name):
        for value in constants.get(node.id, []):
            yield from _texts(value, {})
    elif isinstance(node, ast.Attribute):
        yield from _of_attribute(node)


def _of_attribute(node: ast.Attribute) -> Iterator[str]:
    """figures.ACCURACY and the like are said in figures too; names of groups of weights are listed here."""
    if node.attr == "name":
        yield from ("hidden kernels and matrices", "other kernels and matrices", "kernels and matrices")
        yield from ("biases and scales", "biases of batch normalisation")


def _of_template(path: Path) -> Iterator[str]:
    tree = Environment(extensions=["jinja2.ext.do"]).parse(path.read_text(encoding="utf-8"))
    for call in tree.find_all(nodes.Call):
        name = getattr(call.node, "name", "")
        if name in ("say", "section"):
            yield from _constants(call.args[:1])
        elif name == "words":
            yield from _constants(call.args)
    for filtered in tree.find_all(nodes.Filter):
        if filtered.name == "plural":
            yield from map(COUNTED.format, _constants(filtered.args))


def _constants(arguments: list[nodes.Expr]) -> Iterator[str]:
    for argument in arguments:
        if isinstance(argument, nodes.Const):
            yield str(argument.value)
