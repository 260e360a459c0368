"""Whether a command in the documentation is correct, by the parsers that the commands themselves use."""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.util
import io
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence

from bench.processes import ROOT

from covey import cli
from covey.cli import completion, forwarding
from covey_export.cli import parser as export_parser
from covey_export.importing import options as import_options
from covey_export.trials import variants
from covey_server import command_line, first_look
from covey_server.errors import InvalidConfiguration
from covey_server.offline import command as batch

COVEY = ("covey", "covey-server", "covey-export")
# Programs that are not Covey's: their own arguments are not checked.
_OTHERS = """
[ . ./classify aws cat cd curl docker echo export for g++ grep helm jq kubectl mkdir openssl pip pkg-config pre-commit
printf protoc python ray rm sha256sum sleep sudo umask which
"""
OTHERS = frozenset(_OTHERS.split())
_MAKEFILE = (ROOT / "Makefile").read_text()
_TARGETS = set(re.findall(r"^([a-z][a-z-]*):", _MAKEFILE, re.MULTILINE))
_VARIABLES = set(re.findall(r"^([A-Z]+) \??:?=|\$\(([A-Z]+)\)", _MAKEFILE, re.MULTILINE))
_EXTRAS = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])


def problem(words: Sequence[str]) -> str:
    """What is wrong with a command; empty where nothing is. Paths in it are not checked."""
    program = words[0].removeprefix(".venv/bin/").removeprefix("/opt/covey/bin/")
    inner = next((place for place, word in enumerate(words) if place and word in COVEY), None)
    if program == "docker" and inner is not None and words[1:3] == ["compose", "run"]:
        return problem(words[inner:])
    if program == "torchrun":
        return problem(["covey-export", *words[words.index("covey_export") + 1 :]])
    if program in ("python", "python3") and words[1:2] == ["-m"]:
        return _of_module(words[2], words[3:])
    if program == "make":
        return _of_make(words[1:])
    if program in COVEY:
        return _of_parser(lambda: _parse(program, words[1:]))
    if program == "pip":
        extras = {each for word in words for found in re.findall(r"\[(.*)\]", word) for each in found.split(",")}
        return f"no extra of pyproject.toml: {extras - _EXTRAS}" if extras - _EXTRAS else ""
    return "" if program in OTHERS else f"tests.docs.command_lines does not know {program}"


def problem_of_part(words: Sequence[str]) -> str:
    """What is wrong with a command of Covey's in a sentence, which may leave out arguments: a name or an option that
    does not exist."""
    commands = [word for word in words[1:] if not word.startswith("-")]
    if words[0] == "covey-server" and commands[:1] != [first_look.COMMAND]:
        known = options_of_server()
    elif not commands or not re.fullmatch(r"[a-z]+", commands[0]):
        known = {"--help", "--version"}
    else:
        tree = options_of_covey()
        name = forwarding.EXPORT if words[0] != "covey" and commands[0] in _OF_EXPORT_ALONE else commands[0]
        if name not in tree:
            return f"there is no {words[0]} {commands[0]}"
        known = tree[name]
    given = {word.partition("=")[0] for word in words if re.match(r"--[a-z]", word)}
    return f"no options of it: {', '.join(sorted(given - known))}" if given - known else ""


_OF_EXPORT_ALONE = ("list", "all")  # `covey` has them as `covey export list`


@functools.cache
def options_of_covey() -> Mapping[str, set[str]]:
    """Of each command of `covey`: its options, with those of its own commands."""
    whole = completion.whole_parser()
    found = {name: options(inner) for inner_of in sub_commands(whole) for name, inner in inner_of.items()}
    return found | {forwarding.SERVE: found[forwarding.SERVE] | options(import_parser())}


@functools.cache
def options_of_server() -> set[str]:
    return options(command_line.build({}))


def options(parser: argparse.ArgumentParser) -> set[str]:
    inner = [options(each) for commands in sub_commands(parser) for each in commands.values()]
    return set(parser._option_string_actions).union(*inner)


def sub_commands(parser: argparse.ArgumentParser) -> list[Mapping[str, argparse.ArgumentParser]]:
    return [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]


def import_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    import_options.add_to(parser)
    return parser


def _of_parser(parse: Callable[[], object]) -> str:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            parse()
    except SystemExit as ended:
        return said.getvalue().strip() if ended.code else ""
    except InvalidConfiguration as error:
        return str(error)
    return ""


def _parse(program: str, words: Sequence[str]) -> None:
    """Reads a command as its program would. Raises SystemExit, InvalidConfiguration."""
    if program == "covey-export":
        variants.combine(getattr(_export().parse_args(words), "vary", []))
    elif program == "covey-server":
        _parse_server(words)
    elif words[:1] == [forwarding.SERVE]:
        _parse_server(words[1:] if forwarding._is_of_a_folder(words[1:]) else words)
    elif words[:1] == [forwarding.BATCH]:
        batch.build({}).parse_args(words[1:])
    elif words[:1] == [forwarding.EXPORT]:
        _parse("covey-export", words[1:])
    elif words and words[0] in forwarding.OF_EXPORT:
        _parse("covey-export", words)
    else:
        cli._parse(words)


_export = functools.cache(export_parser.build)


def _parse_server(words: Sequence[str]) -> None:
    if words[:1] != [first_look.COMMAND]:
        command_line.parse(words, {})
        return
    parser = argparse.ArgumentParser(allow_abbrev=False)
    command_line.add_settings(parser, {}, first_look._OMITTED)
    if rest := parser.parse_known_args(words[1:])[1]:
        import_parser().parse_args(rest)


def _of_make(words: Sequence[str]) -> str:
    variables = {word.partition("=")[0] for word in words if "=" in word}
    targets = {word for word in words if "=" not in word}
    known = {name for names in _VARIABLES for name in names}
    unknown = (targets - _TARGETS) | (variables - known)
    return f"the Makefile has no {', '.join(sorted(unknown))}" if unknown else ""


def _of_module(module: str, words: Sequence[str]) -> str:
    """Options of modules of bench and tests must occur in their code: their parsers cannot be had alone."""
    package = module.partition(".")[0]
    if package not in ("bench", "tests", "covey_export", "covey_server", "covey"):
        return ""
    if package not in ("bench", "tests"):
        if importlib.util.find_spec(module) is None:
            return f"there is no module {module}"
        return problem([module.replace("_", "-"), *words])
    place = ROOT / module.replace(".", "/")
    file = next((each for each in (place.with_suffix(".py"), place / "__main__.py") if each.is_file()), None)
    if file is None:
        return f"there is no module {module}"
    text = file.read_text(encoding="utf-8") + (ROOT / "bench" / "run.py").read_text(encoding="utf-8")
    unknown = [word for word in words if word.startswith("--") and f'"{word.partition("=")[0]}"' not in text]
    return f"{module} has no {', '.join(unknown)}" if unknown else ""
