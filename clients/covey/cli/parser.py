"""The parser of `covey`: its commands in groups, and a word about a command that there is not."""

from __future__ import annotations

import argparse
from types import ModuleType

from covey import __version__
from covey.cli import (
    catalogue,
    choose,
    classify,
    completion,
    connection,
    explain,
    forwarding,
    info,
    label,
    models,
    similar,
    version,
    wait,
)
from covey_proto.command_line import Parser

_EPILOG = f"""\
{connection.ENVIRONMENT}
exit codes:
  0    everything was answered
  1    a file could not be read or sent, or is no image; the others were classified
  2    wrong usage, a model the server does not serve, or a --top-k it refuses
  3    the server could not be reached, or failed to answer
  4    of load: measured, but the figures must not be believed
  5    of load: a figure is not as --assert demands
  130  ended by Ctrl-C
"""
_ASK_NO_SERVER = (label, similar, completion, version)  # of similar, only some actions do


class CommandParser(Parser):
    """A parser with commands, whose help shows them in the groups of `catalogue`."""

    def commands(self) -> argparse._SubParsersAction[argparse.ArgumentParser]:
        """What has the parsers of the commands, by name."""
        return next(action for action in self._actions if isinstance(action, argparse._SubParsersAction))

    def format_help(self) -> str:
        """As argparse's, but for the groups."""
        lines = {action.dest: action for action in self.commands()._get_subactions()}
        formatter = self._get_formatter()
        formatter.add_usage(self.usage, self._actions, self._mutually_exclusive_groups)
        formatter.add_text(self.description)
        for title, names in catalogue.GROUPS.items():
            formatter.start_section(title)
            formatter.add_arguments([lines[name] for name in names])
            formatter.end_section()
        formatter.start_section("options")
        formatter.add_arguments(self._get_optional_actions())
        formatter.end_section()
        formatter.add_text("`covey COMMAND --help` lists the options of a command.")
        formatter.add_text(self.epilog)
        return formatter.format_help()

    def require_known(self, word: str) -> None:
        """Ends the process where no command is named so."""
        commands = self.commands().choices
        if word in commands:
            return
        suggestion = catalogue.suggestion(word, commands)
        hint = f". Did you mean covey {suggestion}?" if suggestion else f"; expected one of {', '.join(commands)}"
        self.error(f"there is no command {word!r}{hint}")


def build() -> CommandParser:
    """The parser of `covey`; what it gives has the command as `run(options)`. It knows forwarded commands by name
    only."""
    from covey_load.cli import doctor, load, sizing  # here, as it imports modules of this package

    parser = CommandParser(
        prog="covey",
        description="Serve image classifiers, ask them, train and import them, and look after them.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"covey {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    own: tuple[ModuleType | choose.Command, ...] = (
        *(classify, explain, similar, models, info, *choose.COMMANDS, wait, label, load, doctor, sizing),
        *(completion, version),
    )
    for command in own:
        added = commands.add_parser(
            command.NAME,
            help=command.SUMMARY,
            description=command.DESCRIPTION,
            epilog=_EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,  # --server would mean --server-name, and what is meant is --target
        )
        if command not in _ASK_NO_SERVER:
            connection.add_arguments(added)
        command.add_arguments(added)
        added.set_defaults(run=command.run, parser=added)
    for name, summary in forwarding.COMMANDS.items():  # which `main` runs before anything is parsed here
        commands.add_parser(name, help=summary)
    return parser
