"""`covey info MODEL`: all that a server tells of one model."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from covey.cli import json_lines, table
from covey.cli.connection import connect
from covey.cli.exits import Exit
from covey.results import InputSize, Model, Serving, Training
from covey_proto.wording import listed, plural

NAME = "info"
SUMMARY = "tell all about one model"
DESCRIPTION = "Tell all about one model: labels, input size, accuracy, and how it is run."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", default="", metavar="MODEL", help="its name (default: the default model)")
    parser.add_argument("--version", type=int, default=0, help="version of the model (default: the highest)")
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
    size = model.input
    return [
        ("model", f"{model.name} version {model.version}{', the default' if model.is_default else ''}"),
        ("state", model.state.value + (f": {model.reason}" if model.reason else "")),
        ("input", f"{size.height} x {size.width} x {size.channels}, {size.resize.value}" if size else ""),
        ("background", _background(size) if size else ""),
        ("pixels", _pixels(size) if size else ""),
        ("labels", _labels(model.labels) if model.labels else ""),
        *(_training_rows(model.training) if model.training else ()),
        *(_serving_rows(model.serving) if model.serving else ()),
    ]


def _pixels(size: InputSize) -> str:
    order = "grey" if size.channels == 1 else "RGB"
    if not size.mean:
        return order
    mean, std = (", ".join(f"{number:g}" for number in numbers) for numbers in (size.mean, size.std))
    return f"{order}, scaled to 0..1, mean {mean}, deviation {std}"


def _background(size: InputSize) -> str:
    return f"{size.background} under transparent pixels" if size.background else "none: transparency is dropped"


def _labels(labels: Sequence[str]) -> str:
    return f"{len(labels):,}: {listed(labels, '; --json lists all')}"


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
