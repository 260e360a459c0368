"""The commands of covey-server and covey-export as commands of `covey`, so that one name leads to everything. What they
take and print is theirs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from covey_proto import layout, program

SERVE, BATCH, EXPORT = "serve", "batch", "export"
OF_THE_SERVER = (SERVE, BATCH)
COMMANDS: Mapping[str, str] = {
    SERVE: "start a server: of a file (FILE.onnx), of a models folder (--models DIR), or of a sample",
    BATCH: "classify a folder, tar files or Parquet files without a server",
    "import": "turn a classifier that was trained elsewhere into a served model",
    "train": "train a network",
    "convert": "turn a trained network into the next version of a model",
    "verify": "compare a published model with its training again",
    "report": "draw report.html beside a published model",
    "compare": "draw two published models side by side",
    "show": "show each layer of a network or model",
    "examine": "try a model on changed and on unknown images",
    "try": "train variants of a network and compare them",
    "new": "write a copy of a network to change",
    EXPORT: "any command of training and conversion: list, all, train, convert, ...",
}
OF_EXPORT = tuple(name for name in COMMANDS if name not in OF_THE_SERVER)

# Options of covey-server that make sense for a models folder only, or for no models at all.
_OF_A_FOLDER = frozenset(
    (
        "--models",
        "--default-model",
        "--reload-interval-s",
        "--processes",
        "--check",
        "--probe",
        "--version",
    )
)


def run(arguments: Sequence[str]) -> int:
    """Runs such a command with its name first, and returns its exit code."""
    name, rest = arguments[0], arguments[1:]
    if name in OF_THE_SERVER:
        from covey_server.__main__ import main as serve

        of_a_folder = name == SERVE and _is_of_a_folder(rest)
        return serve(rest, f"{program.COVEY} {SERVE}") if of_a_folder else serve(arguments, program.COVEY)
    from covey_export.__main__ import main as export

    return export(rest, f"{program.COVEY} {EXPORT}") if name == EXPORT else export(arguments, program.COVEY)


def _is_of_a_folder(arguments: Sequence[str]) -> bool:
    """Whether `covey serve` with these arguments serves a models folder: one that is named, or models/ with a model in
    it. Otherwise it serves the file that is named first, or the sample; and its help is that of both."""
    if (arguments and not arguments[0].startswith("-")) or not {"-h", "--help"}.isdisjoint(arguments):
        return False
    flags = {word.partition("=")[0] for word in arguments}
    return bool(
        flags & _OF_A_FOLDER
        or os.environ.get("COVEY_MODELS")
        or next(Path("models").glob(f"*/*/{layout.FILE_NAME}"), None)
    )
