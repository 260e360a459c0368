"""`covey completion SHELL`: a script by which a shell completes commands, options and files.

The script is static: pressing Tab runs no Python. It is made by shtab from the parsers that the commands use, those of
the server and of training included, as far as their packages are installed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from covey.cli.exits import Exit
from covey.errors import InvalidInput

NAME = "completion"
SUMMARY = "print a script that completes commands and options in bash, zsh or fish"
SHELLS = ("bash", "zsh", "fish")
DESCRIPTION = """\
Print a script by which a shell completes the commands of covey, their options, and files. Write it to where the shell
looks for such scripts, and open a new one:
  covey completion bash > ~/.local/share/bash-completion/completions/covey
  covey completion zsh > ~/.zfunc/_covey            # with fpath+=~/.zfunc before compinit, in ~/.zshrc
  covey completion fish > ~/.config/fish/completions/covey.fish
Needs shtab: pip install 'covey-serve[completion]'. The commands of training are completed if torch is installed.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))


def run(options: argparse.Namespace) -> Exit:
    """Raises InvalidInput where shtab is missing."""
    print(script(options.shell))
    return Exit.OK


def script(shell: str) -> str:
    """What is printed for one of SHELLS. Raises InvalidInput where shtab is missing."""
    try:
        import shtab
    except ModuleNotFoundError as error:
        raise InvalidInput(
            "the package 'shtab' is not installed; completion needs its extra: pip install 'covey-serve[completion]'"
        ) from error
    parser = whole_parser()
    _complete_files(parser, shtab.FILE, shtab.DIRECTORY)
    return str(shtab.complete(parser, shell))


def whole_parser() -> argparse.ArgumentParser:
    """The parser of `covey` with those of the forwarded commands in it. What cannot be imported is left out."""
    from covey.cli import forwarding, parser  # which imports this module

    whole = parser.build()
    commands = whole.commands()
    for names, parsers in ((forwarding.OF_THE_SERVER, _of_the_server), (forwarding.OF_EXPORT, _of_export)):
        try:
            found = parsers()
        except ModuleNotFoundError as error:
            print(f"covey: without options of {', '.join(names)}: {error.name} is not installed", file=sys.stderr)
            continue
        for name in names:
            assert isinstance(commands.choices, dict)
            commands.choices[name] = found[name]
    return whole


def _of_the_server() -> dict[str, argparse.ArgumentParser]:
    from covey_server import first_look
    from covey_server.offline import command

    environment: dict[str, str] = {}
    return {"serve": first_look.build(environment), "batch": command.build(environment)}


def _of_export() -> dict[str, argparse.ArgumentParser]:
    from covey_export.cli.parser import build

    whole = build()
    (commands,) = (action for action in whole._actions if isinstance(action, argparse._SubParsersAction))
    return {**commands.choices, "export": whole}


def _complete_files(parser: argparse.ArgumentParser, file: object, folder: object) -> None:
    """Marks what is a path, by what its help calls it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                _complete_files(each, file, folder)
            continue
        shown = str(action.metavar or "")
        is_folder = any(word in shown for word in ("DIR", "FOLDER"))
        is_path = action.type is Path or any(word in shown for word in ("FILE", "IMAGE", "SOURCE", "OUT"))
        if (is_folder or is_path) and not action.choices:
            action.complete = folder if is_folder else file  # type: ignore[attr-defined]
