"""`covey promote`, `rollback`, `canary` and `shadow`: which version of a model answers whom."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from covey.choosing import Action
from covey.cli.connection import connect
from covey.cli.exits import Exit

_ALLOWED = "The server must have been started with --allow-management. It writes the choice into its models folder."


@dataclass(frozen=True)
class Command:
    """One of the commands, as the parser takes them."""

    NAME: Action
    SUMMARY: str
    takes_version: bool = True
    can_be_none: bool = False

    @property
    def DESCRIPTION(self) -> str:  # noqa: N802 - as modules of commands have it
        """Its help."""
        return f"{self.SUMMARY[0].upper()}{self.SUMMARY[1:]}. {_ALLOWED}"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Adds the command's own."""
        parser.add_argument("model", metavar="NAME", help="the model")
        if self.takes_version:
            none = "; 0: none any more" if self.can_be_none else ""
            parser.add_argument("version", metavar="VERSION", type=self._version, help=f"its version{none}")

    def _version(self, text: str) -> int:
        least = 0 if self.can_be_none else 1
        if not (text.isascii() and text.isdigit()) or int(text) < least:
            raise argparse.ArgumentTypeError(f"expected a version's number, {least} or more, not {text!r}")
        return int(text)

    def run(self, options: argparse.Namespace) -> Exit:
        """Chooses, and prints what is chosen now."""
        with connect(options) as client:
            chosen = client.choose(self.NAME, options.model, options.version if self.takes_version else 0)
        others = {"canary": chosen.canary_version, "shadow": chosen.shadow_version}
        rest = "".join(f", {role} {version}" for role, version in others.items() if version)
        print(f"{chosen.model}: default version {chosen.default_version}{rest}")
        return Exit.OK


COMMANDS = (
    Command("promote", "make a version the default one"),
    Command("rollback", "take the canary away, or go back to the default version before", takes_version=False),
    Command("canary", "give a share of the callers a version, until the server's rules decide", can_be_none=True),
    Command("shadow", "run a version in the shadow of the default one, to be compared", can_be_none=True),
)
