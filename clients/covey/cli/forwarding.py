"""The commands of covey-server and covey-export as commands of `covey`, so that one name leads to everything. What they
take and print is theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

SERVE, BATCH = "serve", "batch"
COMMANDS: Mapping[str, str] = {
    SERVE: "start a server: of a file (FILE.onnx) or of a models folder (--models DIR)",
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
}


def run(arguments: Sequence[str]) -> int:
    """Runs such a command with its name first, and returns its exit code."""
    if arguments[0] == SERVE:
        from covey_server.__main__ import main as serve

        is_file = arguments[1:2] and not arguments[1].startswith("-")
        return serve(arguments if is_file else arguments[1:])
    if arguments[0] == BATCH:
        from covey_server.__main__ import main as serve

        return serve(arguments)
    from covey_export.__main__ import main as export

    return export(arguments)
