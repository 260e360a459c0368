"""The command `covey batch`, which `covey-server batch` is too."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from covey_proto import program, variables
from covey_proto.command_line import Parser
from covey_server.command_line import add_settings
from covey_server.config import VARIABLES, Config
from covey_server.system import standard_output

COMMAND = "batch"
_OF_THE_SERVER = ("device", "image_formats", "max_image_pixels", "max_decode_bytes")
_TEXT = """\
Classifies the images of a folder, of tar files (a WebDataset) or of Parquet files, on this machine or in an S3 bucket,
without a server, by its decoder and its engine: one row per image, in the order of the source. An image that cannot be
read gets a row with its error. If it is stopped or killed, the same command goes on from the last finished part."""
_EPILOG = """\
exit codes:
  0 the file is complete        4 the device is not there
  1 with --strict: it is, but images have no answer; otherwise an unexpected failure
  2 wrong options, a source or a target that cannot be used
  3 the model is refused        6 ended early: disk full, a worker lost; the same command goes on
  130 ended by Ctrl-C or SIGTERM; the same command goes on"""


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Runs the command and returns its exit code. Wrong options end the process. Raises StartupError."""
    options = vars(build(environment).parse_args(arguments))
    variables.print_unknown(VARIABLES, program.COVEY)
    settings = {name: options.pop(name) for name in _OF_THE_SERVER}
    from covey_server.offline.job import Job, run  # here, so that --help does not wait for onnxruntime

    job = Job(config=Config(**settings), source=tuple(options.pop("source")), **options)
    return standard_output.write(lambda: run(job, sys.stdout))


def build(environment: Mapping[str, str]) -> Parser:
    """The parser of the command. Raises InvalidConfiguration for wrong variables."""
    called_as = f"{program.words(program.COVEY)} {COMMAND}"
    parser = Parser(
        prog=called_as,
        usage=f"{called_as} SOURCE --model FILE.onnx --to OUT.parquet [options]",
        description=_TEXT,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "source",
        nargs="+",
        metavar="SOURCE",
        help="a folder (its images, at any depth), or .tar or .parquet files; also as s3://BUCKET/PREFIX or "
        "'s3://BUCKET/PREFIX/*.tar'",
    )
    add("--model", required=True, type=Path, help="a file of Covey's, or models/NAME or models/NAME/VERSION")
    add("--to", required=True, type=Path, metavar="OUT", help="the file to write: .parquet, .csv or .jsonl")
    add("--top-k", type=_number, default=0, metavar="K", help="classes per row (default: 1; of independent labels 5)")
    add("--probabilities", action="store_true", help="also the probabilities of all classes")
    add("--image-column", default="image", metavar="NAME", help="of Parquet: the images (default: %(default)s)")
    add("--key-column", default="", metavar="NAME", help="of Parquet: their keys (default: FILE:ROW)")
    add(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="where: on this machine (default), or on the nodes of a Ray cluster",
    )
    add(
        "--ray-address",
        default="",
        metavar="HOST:PORT",
        help="of the cluster (default: RAY_ADDRESS, else the one here)",
    )
    add(
        "--workers",
        type=_number,
        default=0,
        metavar="N",
        help="images worked on at once (default: one per usable core; with Ray as many as the cluster has CPUs)",
    )
    add("--parallel", choices=("auto", "processes", "threads"), default="auto", help="what workers are (default: auto)")
    add("--batch-size", type=_number, default=0, metavar="N", help="images in a batch (default: as many as pay)")
    add("--max-image-bytes", type=_number, default=64 << 20, metavar="BYTES", help="of a file (default: %(default)s)")
    add("--part-images", type=_number, default=10_000, metavar="N", help="images of a part (default: %(default)s)")
    add("--restart", action="store_true", help="begin anew, whatever is finished, and replace OUT at the end")
    add("--strict", action="store_true", help="exit code 1 if an image has no answer")
    add_settings(parser, environment, {field.name for field in fields(Config)} - {*_OF_THE_SERVER})
    return parser


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 up, not {text}")
    return int(text)
