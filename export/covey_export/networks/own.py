"""A user's own network, named `package.module:function`: a function (or class) that gives an nn.Module.

The function may declare `classes` (or `num_classes`), `channels`, `height`, `width`, `dropout`; what it declares is
passed by keyword, whatever else it takes must have a default.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

from torch import nn

from covey_export import naming
from covey_export.errors import InvalidNetwork, UnknownName
from covey_export.networks.blame import with_line
from covey_export.networks.network import Network, Task
from covey_export.networks.trial import require_classes

_ARGUMENTS = ("classes", "num_classes", "channels", "height", "width", "dropout")
_USUAL_SHAPE = (224, 224, 3)  # of folders of images; other data sets say theirs


def require_no_file(name: str) -> None:
    """Raises UnknownName, with the spelling that would work, where a file is named in place of a network."""
    file, _, function = name.partition(":")
    if file.endswith(".py"):
        module = file.removesuffix(".py").removeprefix("./").replace("/", ".")
        raise UnknownName(
            f"{name} is a file; expected MODULE:FUNCTION, as in {module}:{function or 'Net'}, seen from the folder in "
            f"which the command runs"
        )
    if file.endswith((".onnx", ".pt", ".pth", ".safetensors", ".ckpt")):
        raise UnknownName(
            f"{name} is a file of a model or of weights; expected the network itself: a name of `covey export list`, "
            f"torchvision:NAME, or your own MODULE:FUNCTION. Weights go behind --weights"
        )


def require_no_module(name: str) -> None:
    """Raises UnknownName, with the spelling that would work, where a module of the current folder is named alone."""
    if name.isidentifier() and Path(f"{name}.py").is_file():
        raise UnknownName(f"{name} is a module; expected MODULE:FUNCTION, the function or class in it: {name}:Net")


def find_own_network(name: str) -> Network:
    """The network of `package.module:function`; the current folder is searched before what is installed.

    Raises UnknownName where there is no such module or function, InvalidNetwork where the one cannot be imported or
    the other cannot be called.
    """
    function = _find_function(name)
    declared = _declared(function, name)
    return Network(
        name,
        functools.partial(_build_tried, name, function, declared),
        _USUAL_SHAPE,
        default_dataset="sample",
        source="your own",
        smallest_side=1,
        takes_dropout="dropout" in declared,
        is_own=True,
    )


def build_untried(name: str, task: Task) -> nn.Module:
    """The module itself, whatever it gives, and for however many classes: `covey import` looks for itself.

    Raises as find_own_network.
    """
    function = _find_function(name)
    return _build(name, function, _declared(function, name), task)


def _find_function(name: str) -> Callable[..., object]:
    module_name, _, function_name = name.partition(":")
    module = _import(module_name, name)
    function: Callable[..., object] | None = getattr(module, function_name, None)
    if function is None:
        names = [found for found, value in vars(module).items() if callable(value) and not found.startswith("_")]
        raise naming.unknown(f"function of {module_name}", function_name, names)
    if isinstance(function, nn.Module) or not callable(function):
        raise InvalidNetwork(
            f"{name} is a {type(function).__name__}; expected a function that makes the network, so that it can be "
            f"made for other classes and sizes"
        )
    return function


def _import(module_name: str, name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise _unknown_module(module_name, name, here)
    try:
        return importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        # A module that is there may miss another one; that is its own error.
        if isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}."):
            raise _unknown_module(module_name, name, here) from error
        raise InvalidNetwork(f"{name}: importing {module_name} raised {with_line(error)}") from error


def _unknown_module(module_name: str, name: str, here: str) -> UnknownName:
    modules = sorted(path.stem for path in Path(here).glob("[!._]*.py"))
    near = difflib.get_close_matches(module_name, [*modules, "torchvision"], n=1)
    hint = f" Did you mean {near[0]}:{name.partition(':')[2]}?" if near else ""
    there = f"; there: {', '.join(modules)}" if modules else ""
    return UnknownName(
        f"{name}: there is no module {module_name!r} in {here} or among what is installed{there}.{hint} "
        f"Expected torchvision:NAME, or package.module:function for a network of your own"
    )


def _declared(function: Callable[..., object], name: str) -> Mapping[str, inspect.Parameter]:
    """Those of _ARGUMENTS that the function takes by keyword."""
    by_keyword = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    try:
        parameters = inspect.signature(function).parameters
    except ValueError as error:  # of some built-in functions
        raise InvalidNetwork(f"{name} does not say what it takes; expected a function written in Python") from error
    declared = {
        found: parameter
        for found, parameter in parameters.items()
        if found in _ARGUMENTS and parameter.kind in by_keyword
    }
    unknown = [
        found
        for found, parameter in parameters.items()
        if found not in declared
        and parameter.default is inspect.Parameter.empty
        and parameter.kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    ]
    if unknown:
        raise InvalidNetwork(
            f"{name} needs {', '.join(unknown)}, which Covey cannot know; give it a default. "
            f"What is passed where it is declared: {', '.join(_ARGUMENTS)}"
        )
    return declared


def _build_tried(
    name: str, function: Callable[..., object], declared: Mapping[str, inspect.Parameter], task: Task
) -> nn.Module:
    module = _build(name, function, declared, task)
    require_classes(module, task, name)
    return module


def _build(
    name: str, function: Callable[..., object], declared: Mapping[str, inspect.Parameter], task: Task
) -> nn.Module:
    height, width, channels = task.image_shape
    known: dict[str, int | float] = {
        "classes": task.classes,
        "num_classes": task.classes,
        "channels": channels,
        "height": height,
        "width": width,
    }
    if task.dropout is not None or _is_required(declared.get("dropout")):
        known["dropout"] = task.dropout or 0.0
    try:
        module = function(**{argument: known[argument] for argument in declared if argument in known})
    except Exception as error:
        raise InvalidNetwork(f"{name} raised {with_line(error)}") from error
    if not isinstance(module, nn.Module):
        raise InvalidNetwork(f"{name} gave a {type(module).__name__}; expected a torch.nn.Module")
    return module


def _is_required(parameter: inspect.Parameter | None) -> bool:
    return parameter is not None and parameter.default is inspect.Parameter.empty
