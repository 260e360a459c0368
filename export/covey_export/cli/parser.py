"""The options of `covey-export`, their help and their limits; commands.py acts on them, which imports torch."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import covey_proto
from covey_export.cli import argument_types as types
from covey_export.cli import exploring
from covey_export.cli.exploring import NETWORK
from covey_export.importing import options as import_options
from covey_export.importing.options import numbers
from covey_export.option_values import DEVICES, OPTIMIZERS, PIXEL_RANGES, TRAINING_PRECISIONS, UNREADABLE
from covey_proto import program, resize
from covey_proto.command_line import Parser

# What a sub-command without the option goes by.
_NOT_SAID: Mapping[str, Any] = {
    **dict.fromkeys(("weights", "labels", "epochs", "image_size", "resize", "crop", "background", "name")),
    **{"restart": False, "grey": False, "models": Path("models"), "min_accuracy": 0.0, "variants": []},
    **{"keep_validation": False, "calibrate": False, "abstain": None, "embedding": False},
}


def build() -> argparse.ArgumentParser:
    """The parser; what it gives has the sub-command's name as `command`, one of commands.COMMANDS."""
    parser = Parser(
        prog=program.words(program.EXPORT),
        description="Trains image classification networks, converts each to one ONNX file and verifies it.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--version", action="version", version=f"{program.name(program.EXPORT)} {covey_proto.__version__}"
    )
    sub_commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = sub_commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        added.set_defaults(command=name, trains=name in ("train", "all"), **_NOT_SAID)
        return added

    every = add("list", "Show the networks, the data sets, and where each data set was found.")
    every.add_argument("network", metavar="NETWORK", nargs="?", help="show the recipes of this one")
    every.add_argument(
        "--dataset", metavar="NAME", help="with NETWORK: as its recipes are for this data set, or folder:PATH"
    )
    exploring.add_data_dir(every)

    exploring.add_to(add)

    train = add("train", "Train a network, or resume its unfinished checkpoint.")
    train.add_argument("network", metavar="NETWORK", help=NETWORK)
    _add_places(train)
    _add_training(train)
    _add_images(train)
    train.add_argument(
        "--embedding", action="store_true", help="refuse a network that convert --embedding would refuse afterwards"
    )

    convert = add("convert", "Turn a finished checkpoint into the next version of a model, verified.")
    convert.add_argument("network", metavar="NETWORK", help=NETWORK)
    _add_places(convert)
    _add_models(convert)
    _add_variants(convert, "in place of the float32 model")
    _add_fitting(convert)

    verify = add("verify", "Verify a published model against its checkpoint again.")
    verify.add_argument("network", metavar="NETWORK", help=NETWORK)
    _add_places(verify)
    _add_models(verify)
    verify.add_argument("--version", type=types.positive, metavar="N", help="of the model (default: the highest)")

    report = add("report", "Draw report.html and write MODEL_CARD.md beside a published model.")
    report.add_argument("network", metavar="NETWORK", help=NETWORK)
    _add_places(report)
    _add_models(report)
    report.add_argument("--version", type=types.positive, metavar="N", help="of the model (default: the highest)")
    exploring.add_language(report)

    compare = add("compare", "Draw published models side by side, from their reports and test images.")
    compare.add_argument(
        "compared", metavar="MODEL", nargs="+", help="NAME (its highest version), NAME/VERSION, or a folder; 2 to 10"
    )
    compare.add_argument(
        "--dataset", metavar="NAME", help="whose test images are shown (default: the one that the reports name)"
    )
    exploring.add_data_dir(compare)
    compare.add_argument("--models", type=Path, default=Path("models"), metavar="DIR", help="(default: models)")
    compare.add_argument(
        "--output", type=Path, default=Path("compare.html"), metavar="FILE", help="(default: compare.html)"
    )
    exploring.add_language(compare)

    together = add("all", "Train, convert, verify and report networks (default: all of Covey's own).")
    together.add_argument("networks", metavar="NETWORK", nargs="*", help=NETWORK)
    _add_places(together)
    _add_training(together)
    _add_images(together)
    _add_models(together)
    _add_variants(together, "beside the float32 model")
    _add_fitting(together)
    together.add_argument("--no-report", dest="report", action="store_false", help="do not write report.html")
    exploring.add_language(together)
    together.add_argument("--summary-markdown", type=Path, metavar="FILE", help="write the summary table there too")

    import_options.add_to(add(import_options.NAME, import_options.TEXT))
    return parser


def _add_places(parser: argparse.ArgumentParser) -> None:
    exploring.add_data_dir(parser)
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        help="a data set, folder:PATH, capture:PATH or NAME+capture:PATH (default: the network's own)",
    )
    parser.add_argument(
        "--unreadable",
        choices=UNREADABLE,
        default="refuse",
        help="what to do about files of a folder that are no whole images (default: refuse)",
    )
    parser.add_argument(
        "--checkpoints",
        type=Path,
        default=Path("checkpoints"),
        metavar="DIR",
        help="parent of the checkpoints' folders, which are named NETWORK-DATASET-RECIPE (default: checkpoints)",
    )
    parser.add_argument("--checkpoint", type=Path, metavar="DIR", help="the checkpoint's own folder")
    parser.add_argument(
        "--recipe",
        metavar="NAME",
        help="how to train (default: the network's first, see list); NETWORK-RECIPE for another one's",
    )


def _add_training(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "training", "defaults are those of the recipe, or of the checkpoint that is resumed"
    )
    group.add_argument(
        "--epochs",
        type=types.natural,
        metavar="N",
        help="passes over the training images; 0 with --weights: publish them untrained",
    )
    group.add_argument("--batch-size", type=types.positive, metavar="N", help="images a step, over all processes")
    group.add_argument(
        "--optimizer", choices=OPTIMIZERS, help="another than the recipe's takes its usual learning rate"
    )
    group.add_argument(
        "--learning-rate", type=types.above_zero, metavar="RATE", help="of a one-cycle recipe: the highest"
    )
    group.add_argument("--momentum", type=types.share, metavar="M", help="of SGD and Muon")
    group.add_argument(
        "--dropout", type=types.share, metavar="P", help="share of values that the network's dropout layers drop"
    )
    group.add_argument(
        "--weight-decay", type=types.from_zero, metavar="X", help="of kernels and matrices, not of biases"
    )
    group.add_argument(
        "--shuffle", action=argparse.BooleanOptionalAction, help="a new order of the images in each epoch"
    )
    group.add_argument("--log-steps", type=types.positive, metavar="N", help="say the mean loss of every N steps")
    group.add_argument(
        "--label-smoothing", type=types.share, metavar="P", help="share of each label given to all classes"
    )
    group.add_argument(
        "--augment",
        dest="augmentation",
        type=types.augmentation,
        metavar="LIST",
        help="none, or of flip, shift=0.1, cutout=0.25, erase=0.5, rotation=10, zoom=0.1 (default: what suits the data "
        "set)",
    )
    group.add_argument(
        "--precision",
        choices=TRAINING_PRECISIONS,
        help="number format of multiplications; auto measures which is faster here",
    )
    group.add_argument("--seed", type=types.natural, metavar="N", help="of weights and order (default: 0)")
    group.add_argument("--device", choices=DEVICES, default="auto", help="to train on (default: auto)")
    group.add_argument(
        "--restart", action="store_true", help="train from the beginning, even where there is a checkpoint"
    )
    group.add_argument(
        "--weights",
        metavar="FILE",
        help="start from these: a state dict, a checkpoint.pt of Covey, or 'torchvision' for its own (default recipe: "
        "fine-tune)",
    )
    group.add_argument(
        "--keep-validation",
        action="store_true",
        help="train without a tenth of the training images, always the same, for convert --calibrate and --abstain",
    )
    group.add_argument("--freeze", action="store_true", help="with --weights: train only the last layer")
    group.add_argument(
        "--mean", type=numbers, metavar="LIST", help="subtracted from pixels of 0..1: one number, or R,G,B"
    )
    group.add_argument("--std", type=numbers, metavar="LIST", help="then divided by: one number, or R,G,B")
    group.add_argument(
        "--pixels",
        choices=list(PIXEL_RANGES),
        help="the range the network expects, in place of --mean and --std",
    )
    group.add_argument(
        "--labels",
        metavar="FILE|LIST",
        help="classes in the order of the outputs of --weights: a file (text with one a line, JSON or CSV), or a "
        "list with commas",
    )


def _add_images(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("images", "for folders of images; kept in the model and applied by the server")
    group.add_argument(
        "--image-size", type=types.positive, metavar="N", help="height and width (default: the network's)"
    )
    group.add_argument(
        "--resize", choices=[way.value for way in resize.KNOWN], help="how an image is brought to that size"
    )
    group.add_argument(
        "--crop", type=types.crop, metavar="SHARE", help="of the centre that center_crop keeps, such as 0.875"
    )
    group.add_argument(
        "--background",
        type=types.colour,
        metavar="COLOUR",
        help="under transparent pixels: white (default), black, #rrggbb",
    )
    group.add_argument("--grey", action="store_true", help="one channel (default: RGB, where the network can take it)")


def _add_models(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--models", type=Path, default=Path("models"), metavar="DIR", help="the models folder (default: models)"
    )
    parser.add_argument("--name", metavar="NAME", help="of the model (default: the network's name)")


def _add_fitting(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("fitted to the images of --keep-validation", "which `all` then implies")
    group.add_argument(
        "--calibrate",
        action="store_true",
        help="divide the scores by a fitted temperature, so that probabilities are as confident as they are right",
    )
    group.add_argument(
        "--abstain",
        type=types.rate,
        metavar="RATE",
        help="call images unknown whose largest probability is below a fitted threshold, which this share of known "
        "images does not reach, such as 0.05; answers then say `known`",
    )


def _add_variants(parser: argparse.ArgumentParser, place: str) -> None:
    parser.add_argument(
        "--min-accuracy",
        type=types.share_of_all,
        default=0.0,
        metavar="SHARE",
        help="publish only if the accuracy on the test images is at least this, 0 to 1 (default: 0)",
    )
    parser.add_argument("--embedding", action="store_true", help=import_options.EMBEDDING)
    for flags, precision, text in import_options.VARIANTS:
        parser.add_argument(
            *flags,
            dest="variants",
            action="append_const",
            const=precision,
            help=f"publish {precision.model_name('NAME')} {place}: {text}; its accuracy and speed are measured",
        )
