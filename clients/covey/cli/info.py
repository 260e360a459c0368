"""`covey info MODEL`: all that a server tells of one model."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from covey.cli import json_lines, table
from covey.cli.connection import connect
from covey.cli.exits import Exit
from covey.results import InputSize, Model, Serving, Training
from covey_proto.colours import BLACK
from covey_proto.interpolation import Interpolation
from covey_proto.resize import Resize
from covey_proto.wording import listed, plural

NAME = "info"
SUMMARY = "tell all about one model"
DESCRIPTION = "Tell all about one model: labels, input size, accuracy, and how it is run."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", default="", metavar="MODEL", help="its name (default: the default model)")
    parser.add_argument("--version", type=int, default=0, help="version of the model (default: the server's choice)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead")


def run(options: argparse.Namespace) -> Exit:
    """Raises UnknownModel where the server does not know it."""
    with connect(options) as client:
        model = client.model(options.model, options.version)
    if options.json:
        print(json_lines.line(model))
        return Exit.OK
    rows = [(name, text) for name, text in _rows(model) if text]
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        print(f"{name:{width}}  {table.printable(text)}")
    return Exit.OK


def _rows(model: Model) -> list[tuple[str, str]]:
    return [
        ("model", f"{model.name} version {model.version}{', the default' if model.is_default else ''}"),
        ("state", model.state.value + (f": {model.reason}" if model.reason else "")),
        *(_input_rows(model.input) if model.input else ()),
        ("labels", _labels(model.labels) if model.labels else ""),
        ("answer", _answer(model)),
        ("calibrated", f"scores divided by a temperature of {model.temperature:.3f}" if model.temperature else ""),
        ("unknown", f"where no class reaches a probability of {model.known_from:.6g}" if model.known_from else ""),
        ("embedding", f"{plural(model.embedding_size, 'number')}" if model.embedding_size else ""),
        *(_training_rows(model.training) if model.training else ()),
        *(_serving_rows(model.serving) if model.serving else ()),
    ]


def _input_rows(size: InputSize) -> list[tuple[str, str]]:
    way = size.interpolation.value if size.interpolation else Interpolation.BILINEAR.value
    exact = "exact: every pixel of the file counts"
    quick = "large images are averaged down before"
    nearest = size.interpolation is Interpolation.NEAREST
    return [
        ("input", f"{size.height} x {size.width} x {size.channels}, {size.resize.value}"),
        ("resize", f"{_resize(size)}; {way}, {exact if size.exact or nearest else quick}"),
        ("EXIF", "ignored: images are taken as they lie in the file" if size.ignore_exif else "turns images upright"),
        ("background", _background(size)),
        ("pixels", _pixels(size)),
    ]


def _resize(size: InputSize) -> str:
    window = f"{size.height} x {size.width}"
    match size.resize:
        case Resize.STRETCH:
            return f"to {window}, whatever the aspect ratio"
        case Resize.CENTER_CROP:
            share = "" if size.crop == 1 else f"{size.crop:.4g} of "
            return f"{share}the largest centred part of the aspect ratio, to {window}"
        case Resize.SHORTER_SIDE:
            return f"the shorter side to {size.resize_to}, then the centred {window} is cut out"
        case Resize.PAD:
            return f"to fit within {window}, centred on {size.pad or BLACK}"
    return "by a policy that this client does not know"


def _pixels(size: InputSize) -> str:
    order = "grey" if size.channels == 1 else "RGB"
    if size.colour_order == "bgr":
        order = "RGB (turned into BGR within the model)"
    if not size.mean:
        return order
    mean, std = (", ".join(f"{number:g}" for number in numbers) for numbers in (size.mean, size.std))
    return f"{order}, scaled to 0..1, mean {mean}, deviation {std}"


def _background(size: InputSize) -> str:
    return f"{size.background} under transparent pixels" if size.background else "none: transparency is dropped"


def _labels(labels: Sequence[str]) -> str:
    return f"{len(labels):,}: {listed(labels, '; --json lists all')}"


def _answer(model: Model) -> str:
    if not model.independent:
        return "one label: probabilities add up to 1" if model.labels else ""
    if len(set(model.thresholds)) == 1:
        return f"independent labels: all from a probability of {model.thresholds[0]:g} on"
    return (
        f"independent labels: each from its own threshold on, {min(model.thresholds):g} to {max(model.thresholds):g}; "
        f"--json lists all"
    )


def _training_rows(training: Training) -> list[tuple[str, str]]:
    made = f", made {training.created:%Y-%m-%d %H:%M} UTC" if training.created else ""
    return [
        ("network", f"{training.network}, {plural(training.parameters, 'parameter')}, {training.precision}{made}"),
        (
            "accuracy",
            f"{training.test_accuracy:.2%} of {plural(training.test_images, 'test image')} of {training.dataset}",
        ),
    ]


def _serving_rows(serving: Serving) -> list[tuple[str, str]]:
    curve = ", ".join(f"{cost.batch_size}: {cost.run_us:,.0f}" for cost in serving.batch_curve)
    workers = f"{plural(serving.workers, 'worker')} of {plural(serving.threads, 'thread')}"
    return [
        ("device", f"{serving.device} ({serving.provider}), {workers}"),
        ("fallback", serving.device_fallback),
        ("batches", f"of at most {plural(serving.max_batch_size, 'image')}"),
        ("batch curve", f"us by batch size: {curve}" if curve else ""),
        ("requests", f"of at most {serving.max_message_bytes:,} bytes"),
        ("load", f"{serving.load_ms:,} ms, {serving.memory_bytes / 2**20:.1f} MiB"),
        ("golden set", f"largest difference {serving.golden_difference:.1e}"),
    ]
