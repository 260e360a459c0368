"""`covey serve FILE`, and `covey-server serve FILE`: a classifier from elsewhere is imported and served at once, and
nothing of it is kept. Without FILE, the sample that comes with Covey is served in the same way.

`covey import` does the importing, in a process of its own: nothing of onnx or of its memory stays in the server.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Self

from covey_proto import __version__, program
from covey_proto.command_line import UNKNOWN, Parser
from covey_server import sample
from covey_server.command_line import EXIT_CODES, add_settings
from covey_server.config import Config
from covey_server.errors import InvalidConfiguration
from covey_server.observability import log_lines

if TYPE_CHECKING:
    from covey_server.app import App

COMMAND = "serve"
_MISSPELT = 0.8  # options of the import are less like any of the server's: --thresholds and --threads are 0.76
# The models folder is one of our own, read once; --check is the import's.
# One process: a second one would find the folder gone.
_OMITTED = ("models", "default_model", "reload_interval_s", "processes", "check", "probe")
_TEXT = """\
With FILE: imports an image classifier that was trained elsewhere, serves it at once, and keeps nothing, for a first
look. What it assumes is printed. Without FILE it serves
{without}."""
_SAMPLE = "the sample that comes with Covey, a LeNet for digits"
_LIKE = (
    "what the network's own users do to an image first: imagenet, 0..1, -1..1, 0..255, caffe, or a folder with a "
    "preprocessor_config.json (default: what FILE says, else imagenet)"
)
# The options of the import that most files need. Their values are left to it: the server knows nothing of them.
_OF_THE_IMPORT = (
    ("--like", "HOW|DIR", _LIKE),
    ("--labels", "FILE|LIST", "names of the classes in the order of the outputs: a file, or a list with commas"),
    ("--samples", "DIR|CSV", "labelled images, on which the import and the original are compared"),
    ("--image-size", "N|HxW", "where FILE takes images of any size"),
)  # fmt: skip


def build(environment: Mapping[str, str]) -> Parser:
    """The parser whose help is shown; of the import's options it has the usual ones. `covey serve` takes a models
    folder too, `covey-server serve` does not. Raises InvalidConfiguration for wrong variables."""
    takes_folder = program.words(program.COVEY) != program.SERVER
    without = f"models/ where that has a model, else {_SAMPLE}" if takes_folder else _SAMPLE
    parser = Parser(
        prog=_called_as(), usage=_usage(), description=_TEXT.format(without=without), epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    file = parser.add_argument_group(
        "a file from elsewhere", "and all other options of covey import but --models: covey import --help"
    )
    file.add_argument(
        "file", nargs="?", metavar="FILE",
        help="an ONNX file, a PyTorch checkpoint with --network, or a folder as Hugging Face has it",
    )  # fmt: skip
    for name, metavar, text in _OF_THE_IMPORT:
        file.add_argument(name, metavar=metavar, help=text)
    if takes_folder:
        parser.add_argument("--version", action="version", version=f"{program.COVEY} {__version__}")
        folder = parser.add_argument_group("a folder of models, in place of FILE")
        add_settings(folder, environment, {each.name for each in fields(Config)} - {*_OMITTED})
    add_settings(parser.add_argument_group("the server"), environment, _OMITTED)
    return parser


def _called_as() -> str:
    return f"{program.words(program.COVEY)} {COMMAND}"


def _usage() -> str:
    return f"{_called_as()} [FILE] [--like HOW] [options]"


class FirstLook:
    """While entered, there is a folder for the import; it is gone once the model is served, so that nothing is left
    behind however the server ends."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self._arguments = arguments
        self._environment = environment

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="covey-serve-"))
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def config(self) -> Config:
        """Imports the file that the arguments name, or takes the sample where they name nothing. Where an import
        fails, which it explains itself, the process ends with its exit code. Raises InvalidConfiguration."""
        parser = Parser(prog=_called_as(), usage=_usage(), allow_abbrev=False, add_help=False)
        add_settings(parser, self._environment, _OMITTED)
        settings, self._for_import = parser.parse_known_args(self._arguments)
        if not {"-h", "--help"}.isdisjoint(self._for_import):
            build(self._environment).parse_args(["--help"])
        for word in self._for_import:  # the import would not know what was meant
            if word.startswith("--") and parser.nearest(word, _MISSPELT):
                parser.error(f"{UNKNOWN}{word}")
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # until the server has handlers of its own
        name = self._import() if self._for_import else sample.copy_into(self._folder)
        return Config(models=self._folder, default_model=name, reload_interval_s=0, **vars(settings))

    def served(self, app: App) -> None:
        """Says what to do now, and removes the folder: the model is in memory. Its file stays open without a name, for
        callers who look inside, and is gone with the process, however that ends."""
        for model in app.repository.catalog.served:
            with contextlib.suppress(OSError):  # it is served all the same
                model.engine.keep_file()
        shutil.rmtree(self._folder, ignore_errors=True)
        log_lines.flush()  # so that what to do next stands last on a terminal
        config = app.config
        image = "photo.jpg" if self._for_import else shlex.quote(str(sample.IMAGE))
        host = config.host if config.host not in ("0.0.0.0", "::") else "localhost"
        host = f"[{host}]" if ":" in host else host
        secured = (" --ca-certificate FILE" if config.tls_certificate else "") + (
            f" --token-file {shlex.quote(config.auth_token_file)}" if config.auth_token_file else ""
        )
        url = "" if app.http is None else f"{app.http.scheme}://{host}:{app.http.port}"
        if not self._for_import:
            print(f"served:   the sample that comes with Covey, {sample.SUMMARY}")
        if app.http is not None and config.page:
            print(f"open:     {config.url(app.http.scheme, app.http.port)}")
        print(f"try it:   covey classify --target {host}:{app.front.port}{secured} {image}")
        if url:
            secured = (" --cacert FILE" if config.tls_certificate else "") + (
                ' -H "Authorization: Bearer TOKEN"' if config.auth_token_file else ""
            )
            print(
                f"or:       curl{secured} -T {image} {shlex.quote(f'{url}/v1/models/{config.default_model}/classify')}"
            )
        if self._for_import:
            print(f"keep it:  covey import {shlex.join(self._for_import)}")
        else:
            print("yours:    covey serve FILE.onnx --like imagenet, or a folder of models: covey serve --models DIR")
        print("Ctrl-C ends it; nothing is left behind", flush=True)

    def _import(self) -> str:
        """The model's name."""
        given = self._for_import
        if any(flag.partition("=")[0] == "--models" for flag in given):
            raise InvalidConfiguration(
                "--models: serve FILE keeps nothing; to publish into a folder: covey import FILE --name NAME "
                "--models DIR, then covey serve --models DIR"
            )
        if all(word.startswith("-") for word in given):
            raise InvalidConfiguration(
                f"{given[0]} is no option of a server here, and there is no FILE which options of the import could be "
                f"for; expected covey serve [FILE] [options], as covey serve --help lists them"
            )
        if importlib.util.find_spec("covey_export") is None:
            raise InvalidConfiguration(
                "serve imports the file first, and covey_export is not installed here; pip install 'covey-serve[cpu]' "
                "onnx, or import it elsewhere (covey import FILE --name NAME) and serve its models folder"
            )
        command = [sys.executable, "-P", "-m", "covey_export", "import", *given]
        command += [f"--first-look={_called_as()}", "--models", str(self._folder)]
        (self._folder / ".tmp").mkdir()
        sys.stdout.flush()
        done = subprocess.run(command, env=os.environ | {"TMPDIR": str(self._folder / ".tmp")}, check=False)
        published = sorted(path.name for path in self._folder.iterdir() if not path.name.startswith("."))
        if done.returncode or not published:
            raise SystemExit(done.returncode)
        return min(published, key=len)  # a variant's name is longer
