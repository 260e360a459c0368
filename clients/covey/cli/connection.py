"""The arguments that say which server is meant and how it is reached, the same for every command; and the client."""

from __future__ import annotations

import argparse
import os
from typing import Any

from covey.client import Client
from covey.connection import DEFAULT_DEADLINE_MS, DEFAULT_HTTP_TARGET, DEFAULT_TARGET
from covey.errors import InvalidInput
from covey.security import TLS, Token, TokenFile

ENVIRONMENT = """\
environment, where the flag is not given:
  COVEY_TARGET                           the server's address
  COVEY_TLS                              1: as --tls, 0: as --no-tls
  COVEY_CA_CERTIFICATE                   as --ca-certificate
  COVEY_CLIENT_CERTIFICATE, ..._KEY      as --client-certificate and --client-key
  COVEY_SERVER_NAME                      as --server-name
  COVEY_TOKEN_FILE                       as --token-file
  COVEY_TOKEN                            the token itself, where no file is named
"""

_FILES = (
    ("ca-certificate", "authorities that may have signed the server's certificate (PEM)"),
    ("client-certificate", "certificate of this client, for servers that ask for one (PEM)"),
    ("client-key", "its key (PEM)"),
    ("token-file", "file that holds the token to bring"),
)
_TRUTH = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the server")
    group.add_argument(
        "--target",
        metavar="HOST:PORT",
        help=f"its address, or several, separated by commas; over HTTP {DEFAULT_HTTP_TARGET} (default: $COVEY_TARGET, "
        f"else {DEFAULT_TARGET})",
    )
    group.add_argument(
        "--deadline-ms",
        type=float,
        default=DEFAULT_DEADLINE_MS,
        metavar="MS",
        help="how long one call may take (default: %(default)g)",
    )
    group.add_argument(
        "--tls",
        action=argparse.BooleanOptionalAction,
        help="encrypt, and check the server's certificate; --no-tls sends a token in the clear where that is meant "
        "(default: encrypt where a certificate, a key or a server's name is given)",
    )
    for name, text in _FILES:
        group.add_argument(f"--{name}", default=_from_environment(name), metavar="FILE", help=text)
    group.add_argument(
        "--server-name",
        default=_from_environment("server-name"),
        metavar="NAME",
        help="the name that the server's certificate is for, where the target is another",
    )


def connect(options: argparse.Namespace, **settings: Any) -> Client:
    """The client that the arguments ask for. Raises InvalidInput."""
    return Client(target(options), deadline_ms=options.deadline_ms, tls=tls(options), token=token(options), **settings)


def target(options: argparse.Namespace, word: str = "", default: str = DEFAULT_TARGET) -> str:
    """The server's address; `word` is the one that a command was given without `--target`, if it was. Raises
    InvalidInput where both were given."""
    if word and options.target:
        raise InvalidInput(f"two targets were given, {word} and --target {options.target}; give one of them")
    return word or options.target or os.environ.get("COVEY_TARGET") or default


def tls(options: argparse.Namespace) -> TLS | bool | None:
    """As Client takes it. Raises InvalidInput for what does not go together."""
    wanted = options.tls if options.tls is not None else _truth("COVEY_TLS")
    named = TLS(
        options.ca_certificate or None,
        options.client_certificate or None,
        options.client_key or None,
        options.server_name,
    )
    if named == TLS():
        return wanted
    if wanted is False:
        raise InvalidInput("--no-tls goes with no certificate, key or --server-name; omit one of them")
    return named


def token(options: argparse.Namespace) -> Token:
    """As Client takes it. Raises InvalidInput where there is no such file: every call would fail."""
    if not options.token_file:
        return os.environ.get("COVEY_TOKEN", "")
    file = TokenFile(options.token_file)
    file()
    return file


def _from_environment(name: str) -> str:
    return os.environ.get(f"COVEY_{name.upper().replace('-', '_')}", "")


def _truth(variable: str) -> bool | None:
    text = os.environ.get(variable, "")
    if text and text.lower() not in _TRUTH:
        raise InvalidInput(f"{variable}={text!r}: expected 1 or 0")
    return _TRUTH.get(text.lower())
