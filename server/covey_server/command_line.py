"""Flags and environment -> Config. A flag wins over the environment."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from typing import Any

from covey_proto import __version__, program
from covey_proto.command_line import Parser
from covey_server.config import Config, flag, variable
from covey_server.errors import InvalidConfiguration

EXIT_CODES = """\
exit codes:
  0 stopped as asked    2 wrong flags or settings    3 no model can be served (--check: one is refused)
  1 any other failure   4 the device is not there    5 a port cannot be opened
  130 forced by a second signal"""


_TRUTH = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def parse(arguments: Sequence[str] | None, environment: Mapping[str, str]) -> Config:
    """Reads the settings from flags and environment. Wrong flags end the process (argparse, exit code 2); a wrong
    environment variable or value raises InvalidConfiguration."""
    parser = build(environment)
    said, unknown = parser.parse_known_args(arguments)
    if unknown and not unknown[0].startswith("-"):
        parser.error(f"{unknown[0]!r} is no option; expected --models DIR, or for a file: covey serve {unknown[0]}")
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    return Config(**vars(said))


def build(environment: Mapping[str, str]) -> Parser:
    """The parser of `covey-server`. Raises InvalidConfiguration for wrong variables."""
    parser = Parser(
        prog=program.words(program.SERVER),
        description="Serves ONNX image classifiers over gRPC and HTTP in batches. `covey serve FILE.onnx` imports a "
        "classifier from elsewhere and serves it, for a first look; see covey serve --help.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{program.name(program.SERVER)} {__version__}")
    add_settings(parser, environment)
    return parser


def add_settings(
    parser: argparse._ActionsContainer, environment: Mapping[str, str], omitted: Collection[str] = ()
) -> None:
    """A flag for each field of Config but those `omitted`, of a parser or a group of one. Raises InvalidConfiguration
    for wrong variables."""
    for each in fields(Config):
        if each.name in omitted:
            continue
        kind, choices = type(each.default), each.metadata["choices"]
        name = variable(each.name)
        default = _from_environment(environment, name, kind, choices, each.default)
        shown = repr("") if each.default == "" else each.default
        how: dict[str, Any] = {"action": argparse.BooleanOptionalAction}
        if kind is not bool:
            metavar = None if choices else each.name.rsplit("_", 1)[-1].upper()
            how = {"type": kind, "choices": choices, "metavar": metavar}
            if each.metadata["is_list"]:
                how["action"] = _Joined
        text = f"{each.metadata['text']} (default: {shown}; {name})".replace("%", "%%")
        parser.add_argument(flag(each.name), default=default, help=text, **how)


class _Joined(argparse.Action):
    """Joins what a flag is given several times by commas; the environment's value does not count then."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        said = getattr(namespace, self.dest)
        setattr(namespace, self.dest, values if said == self.default else f"{said},{values}")


def _from_environment(
    environment: Mapping[str, str],
    name: str,
    kind: type,
    choices: tuple[str, ...] | None,
    default: object,
) -> object:
    text = environment.get(name)
    if not text or text.startswith("tcp://"):  # a variable that Kubernetes sets for a service named covey-grpc
        return default
    try:
        value: object = _TRUTH[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError):
        expected = "1 or 0" if kind is bool else kind.__name__
        raise InvalidConfiguration(f"{name}={text!r}: expected {expected}") from None
    if choices and value not in choices:
        raise InvalidConfiguration(f"{name}={text!r}: expected one of {', '.join(choices)}")
    return value
