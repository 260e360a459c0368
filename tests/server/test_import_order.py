"""Who may import whom in the server: downwards only, as docs/design.md says ("Who imports whom")."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[2] / "server" / "covey_server"
LEVELS = (
    {
        "__main__",
        "app",
        "check",
        "command_line",
        "first_look",
        "installation",
        "offline",
        "probe",
        "processes",
        "resources",
        "serving",
    },
    {"fronts"},
    {"protocols"},
    {"observability"},
    {"remote"},
    {"batching"},
    {"models"},
    {"explaining"},
    {"inference"},
    {"images"},
    {"calls"},
    {"errors", "config", "sample", "system"},
)
LEVEL = {wing: level for level, wings in enumerate(LEVELS) for wing in wings}


def modules() -> dict[str, Path]:
    """The path of each module by its name below covey_server: "fronts.native"; "" is the package itself."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imported(tree: ast.AST, *, when_loaded: bool = False) -> Iterator[str]:
    """The server's modules that a tree imports anywhere or, `when_loaded`, as it is loaded itself."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "covey_server":
            module = ".".join((node.module or "").split(".")[1:])
            for alias in node.names:
                inner = f"{module}.{alias.name}".strip(".")
                yield inner if inner in MODULES else module
        elif isinstance(node, ast.Import):
            yield from (each.name.partition(".")[2] for each in node.names if each.name.startswith("covey_server."))
        elif when_loaded and (isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or _is_for_types(node)):
            continue
        yield from imported(node, when_loaded=when_loaded)


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def test_imports_go_downwards_only() -> None:
    wrong = [
        f"{name} imports {other}"
        for name, path in MODULES.items()
        for other in imported(ast.parse(path.read_text()))
        if name and other and LEVEL[_wing(other)] < LEVEL[_wing(name)]
    ]
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {name: set(imported(ast.parse(path.read_text()), when_loaded=True)) for name, path in MODULES.items()}
    assert len([*TopologicalSorter(graph).static_order()]) == len(MODULES)  # raises CycleError


def test_no_protocol_knows_another() -> None:
    protocols = {name.split(".")[1] for name in MODULES if name.startswith("protocols.") and name.count(".") == 2}
    assert protocols == {"classifier", "open_inference", "rest"}
    wrong = [
        f"{name} imports {other}"
        for name, path in MODULES.items()
        for other in imported(ast.parse(path.read_text()))
        if _protocol(name) in protocols and _protocol(other) in protocols - {_protocol(name)}
    ]
    assert wrong == []


def test_every_wing_has_its_place() -> None:
    assert {_wing(name) for name in MODULES if name} == LEVEL.keys()


def _wing(name: str) -> str:
    return name.split(".")[0]


def _protocol(name: str) -> str:
    return name.split(".")[1] if name.startswith("protocols.") else ""
