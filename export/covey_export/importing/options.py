"""The options of `covey import`, their help and their limits. command.py carries them out."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from pathlib import Path

from covey_export.importing.settings.preset import PRESETS
from covey_export.option_values import ACTIVATIONS, LAYOUTS, THRESHOLD
from covey_export.quantization.precision import Precision
from covey_proto import colours, interpolation, resize
from covey_proto.resize import Resize

# The sub-commands that convert Covey's own networks have these options, too.
VARIANTS = (
    (("--int8",), Precision.INT8, "a quarter of the size, calibrated on images of yours"),
    (("--float16", "--fp16"), Precision.FLOAT16, "half the size"),
)
EMBEDDING = "publish the vector before the last linear layer as a second output of the file too"
NAME = "import"
FIRST_LOOK = "--first-look"
TEXT = "Turn a classifier that was trained elsewhere into a served model that is proven equal to it."


def add_to(parser: argparse.ArgumentParser) -> None:
    """Adds all options of the sub-command."""
    parser._negative_number_matcher = re.compile(r"-\d")  # else -1..1 would be an option of its own, not a value
    parser.add_argument(
        "source", type=Path, metavar="SOURCE",
        help="an ONNX file, a PyTorch checkpoint (.pt, .pth, .safetensors) with --network, or a folder as Hugging Face "
        "has it (config.json, preprocessor_config.json, weights)",
    )  # fmt: skip
    parser.add_argument("--name", metavar="NAME", help="of the model (default: as SOURCE is named)")
    parser.add_argument(
        "--models", type=Path, default=Path("models"), metavar="DIR", help="the models folder (default: models)"
    )
    for flags, precision, text in VARIANTS:
        parser.add_argument(
            *flags, dest="variants", action="append_const", const=precision, default=[],
            help=f"also publish {precision.model_name('NAME')}: {text}; its answers and speed are measured",
        )  # fmt: skip
    parser.add_argument("--embedding", action="store_true", help=EMBEDDING)
    parser.add_argument(FIRST_LOOK, metavar="PROGRAM", help=argparse.SUPPRESS)  # of `covey serve`, or how it was called
    parser.add_argument(
        "--labels", metavar="FILE|LIST",
        help="names in the order of the outputs: a file (text with one a line, JSON, CSV, or a config.json with "
        "id2label), or a list with commas (default: the folders of --samples in alphabetical order, or class 0, ...)",
    )  # fmt: skip

    parser.add_argument(
        "--network", metavar="NETWORK",
        help="that a checkpoint belongs to: torchvision:NAME, timm:NAME, or your own MODULE:FUNCTION",
    )  # fmt: skip

    group = parser.add_argument_group("preprocessing", "what the network's own users do to an image before it")
    group.add_argument(
        "--like", type=_like, metavar="|".join((*PRESETS, "DIR")),
        help="a usual way: imagenet (torchvision, timm), a range of numbers, caffe (BGR less its mean), or a folder "
        "with a preprocessor_config.json or timm's config.json (default: what the source says, else imagenet)",
    )  # fmt: skip
    group.add_argument(
        "--mean", type=numbers, metavar="LIST",
        help="subtracted from pixels of 0..1: one number, or one for each channel in the network's order",
    )  # fmt: skip
    group.add_argument(
        "--std", type=numbers, metavar="LIST", help="then divided by: one number, or one for each channel"
    )
    group.add_argument(
        "--scale", type=_scale, metavar="X",
        help="pixels of 0..255 times this, before --mean and --std (default: 1/255; with 1 they are of 0..255)",
    )  # fmt: skip
    order = group.add_mutually_exclusive_group()
    order.add_argument("--bgr", dest="bgr", action="store_true", default=None, help="the network takes blue first")
    order.add_argument("--rgb", dest="bgr", action="store_false", default=None, help="it takes red first (default)")

    group = parser.add_argument_group("images", "how an image comes to the network's size; done by the server")
    group.add_argument(
        "--resize", choices=[policy.value for policy in resize.KNOWN],
        help="default: what the source says, else shorter_side like imagenet and caffe, else stretch",
    )  # fmt: skip
    group.add_argument(
        "--resize-to", type=_positive, metavar="N",
        help="of shorter_side: its length before the centre is cut out (default: 8/7 of the size, 256 for 224)",
    )  # fmt: skip
    group.add_argument(
        "--interpolation", choices=[method.value for method in interpolation.KNOWN],
        help="default: what the source says, else bilinear",
    )  # fmt: skip
    group.add_argument("--image-size", type=_size, metavar="N|HxW", help="where the file takes images of any size")
    group.add_argument(
        "--background", type=_colour, metavar="COLOUR",
        help="under transparent pixels: white, black, #rrggbb (default: white, or none as the source's library has it)",
    )  # fmt: skip
    group.add_argument(
        "--pad",
        type=_colour,
        metavar="COLOUR",
        help=f"of --resize {Resize.PAD.value}: around the image (default: black)",
    )
    group.add_argument("--ignore-exif", action="store_true", help="do not turn images upright")
    group.add_argument(
        "--exact",
        action="store_true",
        help="resize images of all formats in one step and decode JPEG files at full size, as Pillow does: slower, "
        "the same to the pixel",
    )

    group = parser.add_argument_group("the file", "what its shapes leave open")
    group.add_argument("--layout", choices=LAYOUTS, help="of its input: NCHW (PyTorch) or NHWC (Keras, TensorFlow)")
    group.add_argument("--output", metavar="NAME", help="the output with the scores, where there are several")
    group.add_argument(
        "--activation", choices=ACTIVATIONS,
        help="what the outputs still need: softmax (one class is right), sigmoid (independent labels) or none "
        "(default: found by looking at its answers)",
    )  # fmt: skip

    group.add_argument(
        "--thresholds", metavar="X|LIST|FILE",
        help="of independent labels: the probability from which on one is part of the answer, for all of them or one "
        "each: numbers with commas between, or a file of them (one a line, JSON, or CSV of label and number; "
        f"default: {THRESHOLD})",
    )  # fmt: skip

    group = parser.add_argument_group("proof")
    group.add_argument(
        "--samples", type=Path, metavar="DIR|CSV",
        help="images, one folder of them per class, or a CSV of file and label, to compare on and to keep in the file "
        "(default: made images)",
    )  # fmt: skip
    group.add_argument(
        "--check", type=Path, metavar="DIR|CSV",
        help="one folder of images per class, or a CSV of file and label: shows the accuracy under the usual mistakes, "
        "and publishes nothing where another setting does clearly better",
    )  # fmt: skip
    group.add_argument(
        "--min-accuracy", type=_share, metavar="SHARE", help="publish only with this accuracy on the samples, 0 to 1"
    )


def _like(text: str) -> str | Path:
    """Parses a preset's name, or a folder or JSON file that exists."""
    if text in PRESETS:
        return text
    path = Path(text)
    if path.is_dir() or (path.is_file() and path.suffix == ".json"):
        return path
    raise argparse.ArgumentTypeError(
        f"expected {', '.join(PRESETS)}, or a folder with a preprocessor_config.json, got {text!r}"
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 16_384:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to 16384, got {text!r}")
    return int(text)


def _size(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) not in (1, 2) or not all(part.isdecimal() and 0 < int(part) <= 8192 for part in parts):
        raise argparse.ArgumentTypeError(f"expected a size such as 224, or HEIGHTxWIDTH such as 240x320, got {text!r}")
    return (int(parts[0]), int(parts[-1]))


def numbers(text: str) -> tuple[float, ...]:
    """Parses one number, or one for each of three channels. Raises ArgumentTypeError."""
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) not in (1, 3) or not all(map(math.isfinite, values)):
        raise argparse.ArgumentTypeError(f"expected one number or three with commas between, got {text!r}")
    return values


def _scale(text: str) -> float:
    """Parses a number, or a fraction such as 1/255."""
    numerator, _, denominator = text.partition("/")
    return _number(
        text,
        lambda: float(numerator) / (float(denominator) if denominator else 1.0),
        lambda value: value > 0,
        "above 0",
    )


def _share(text: str) -> float:
    return _number(text, lambda: float(text), lambda value: 0 <= value <= 1, "from 0 to 1")


def _number(text: str, parse: Callable[[], float], is_right: Callable[[float], bool], expected: str) -> float:
    try:
        value = parse()
    except (ValueError, ZeroDivisionError):
        value = math.nan
    if not (math.isfinite(value) and is_right(value)):
        raise argparse.ArgumentTypeError(f"expected a number {expected}, got {text!r}")
    return value


def _colour(text: str) -> str:
    try:
        return colours.written(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}, white or black") from error
