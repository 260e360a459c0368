"""Options of the commands by which people get to know a network: show, examine, try, new."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from covey_export.cli import argument_types as types
from covey_export.option_values import DEVICES
from covey_export.trials import variants
from covey_reports import language

NETWORK = "a name of `covey export list`, torchvision:NAME, timm:NAME, or your own MODULE:FUNCTION"


def add_to(add: Callable[[str, str], argparse.ArgumentParser]) -> None:
    """Adds the sub-commands by `add(name, text)`."""
    show = add("show", "Show each layer of a network or model: size, parameters, cost, what it sees.")
    show.add_argument("network", metavar="NETWORK|FILE", help=f"{NETWORK}; or a published model's file or folder")
    add_data_dir(show)
    show.add_argument("--dataset", metavar="NAME", help="show it with images of this data set, or folder:PATH")
    show.add_argument("--image", type=types.natural, metavar="N", help="test image to follow through the layers (0)")
    show.add_argument(
        "--image-size", type=types.positive, metavar="N", help="height and width (default: the network's)"
    )
    show.add_argument("--grey", action="store_true", help="one channel (default: RGB, where the network can take it)")
    show.add_argument("--output", type=types.output_file, metavar="FILE", help="draw it on a page, such as show.html")
    add_language(show)

    _add_examine(add("examine", "Examine a published model: changed images, calibration, unknown images."))
    _add_try(add("try", "Train variants of a network or recipe and compare them on one page."))

    new = add("new", "Write a copy of a network as a Python file to change, and how to compare.")
    new.add_argument("name", metavar="NAME", help="of the module: NAME.py and NAME.md are written into this folder")
    new.add_argument("--from", dest="source", required=True, metavar="NETWORK", help="one of Covey's own networks")


def _add_examine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a published model's file or folder, or its name in models/")
    parser.add_argument("--dataset", required=True, metavar="NAME", help="that it was trained on")
    parser.add_argument(
        "--unknown", action="append", default=[], metavar="NAME", help="a data set of other classes, also several"
    )
    add_data_dir(parser)
    parser.add_argument(
        "--output",
        type=types.output_file,
        default=Path("examination.html"),
        metavar="FILE",
        help="(default: examination.html)",
    )
    add_language(parser)


def add_data_dir(parser: argparse.ArgumentParser) -> None:
    """Adds --data-dir."""
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="folder of data sets (default: COVEY_DATA, if it is set)"
    )


def add_language(parser: argparse.ArgumentParser) -> None:
    """Adds --lang."""
    parser.add_argument(
        "--lang",
        choices=list(language.LANGUAGES),
        default=language.ENGLISH,
        help="language of what is shown: en (default) or zh, Chinese",
    )


def _add_try(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("network", metavar="NETWORK", help=NETWORK)
    parser.add_argument(
        "--vary",
        action="append",
        default=[],
        metavar="NAME=A,B",
        help="an option of train and its values, such as dropout=0,0.5; every combination of several is trained",
    )
    parser.add_argument("--seeds", type=types.positive, default=1, metavar="N", help="trainings of each (default: 1)")
    parser.add_argument(
        "--judge",
        choices=variants.JUDGES,
        default=variants.JUDGES[0],
        help="by validation (a tenth of the training images), or by test, once a choice is made (default: validation)",
    )
    add_data_dir(parser)
    parser.add_argument("--dataset", metavar="NAME", help="a data set, or folder:PATH (default: the network's own)")
    parser.add_argument(
        "--recipe",
        metavar="NAME",
        help="how to train (default: the network's first, see list): also of other networks that are varied; "
        "NETWORK-RECIPE for another one's, own or own-best for each network's own",
    )
    parser.add_argument("--epochs", type=types.positive, metavar="N", help="of all variants")
    parser.add_argument("--batch-size", type=types.positive, metavar="N", help="of all variants")
    parser.add_argument("--learning-rate", type=types.above_zero, metavar="RATE", help="of all variants")
    parser.add_argument("--device", choices=DEVICES, default="auto", help="to train on (default: auto)")
    parser.add_argument("--checkpoints", type=Path, default=Path("trials"), metavar="DIR", help="(default: trials)")
    parser.add_argument(
        "--output",
        type=types.output_file,
        default=Path("trials.html"),
        metavar="FILE",
        help="the page (default: trials.html)",
    )
    add_language(parser)
