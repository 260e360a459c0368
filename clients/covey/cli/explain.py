"""`covey explain FILE`: the layers of a network, and which pixels of an image speak for a class."""

from __future__ import annotations

import argparse
from pathlib import Path

from covey.cli import files, heat_picture, table
from covey.cli.connection import connect
from covey.cli.exits import Exit
from covey.client import Client
from covey.errors import InvalidInput
from covey.explaining import Explanation, HeatMap
from covey_proto.wording import plural

NAME = "explain"
SUMMARY = "look inside a model with one image"
DESCRIPTION = "Print a model's layers, and write a heat map over the image: red speaks for the class, blue against it."
_HEADER = ("LAYER", "NAME", "KIND", "SHAPE", "PARAMETERS", "WHAT IT DOES")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="an image file; - for standard input")
    parser.add_argument("--out", type=Path, metavar="PNG", help="file to write the heat map to")
    parser.add_argument("--model", default="", help="name of the model (default: the server's default model)")
    parser.add_argument("--version", type=int, default=0, help="version of the model (default: the server's choice)")
    parser.add_argument(
        "--label", default="", help="class that the heat map is for, with --out (default: the most probable one)"
    )
    parser.add_argument(
        "--method",
        default="",
        metavar="METHOD",
        help="class_activation or occlusion, with --out (default: the better one that the model allows)",
    )


def run(options: argparse.Namespace) -> Exit:
    """Raises CoveyError."""
    image = files.read_stdin() if options.file == files.STDIN else options.file
    with connect(options) as client:
        index = _index(client, options) if options.label else None
        found = client.explain(
            image,
            model=options.model,
            version=options.version,
            heat_map=options.out is not None,
            class_index=index,
            method=options.method,
        )
    print(_layers(found))
    best = ", ".join(f"{each.label} {each.probability:.2%}" for each in found.classes)
    print(f"\n{table.printable(f'{found.model} version {found.version}: {best}')}")
    if found.heat_map is not None:
        _write(options.out, heat_picture.draw(found.image, found.heat_map.values))
        print(_summary(found.heat_map, options.out))
    timing = found.timing
    opened = f", {timing.open_us / 1e3:.1f} ms of it to open the model" if timing.open_us else ""
    print(f"{timing.total_us / 1e3:.1f} ms in the server, {plural(timing.images, 'image')} computed{opened}")
    return Exit.OK


def _index(client: Client, options: argparse.Namespace) -> int:
    """The class of a label. Raises InvalidInput where the model has none of this name."""
    labels = client.model(options.model, options.version).labels
    if options.label not in labels:
        raise InvalidInput(
            f"no class has the label {options.label!r}; `covey info {options.model or 'MODEL'} --json` lists the "
            f"{len(labels)} labels"
        )
    return labels.index(options.label)


def _layers(found: Explanation) -> str:
    rows = [
        (
            str(layer.index),
            layer.name,
            layer.kind.replace("_", " "),
            " x ".join(map(str, layer.shape)),
            f"{layer.parameters:,}" if layer.parameters else "",
            layer.detail,
        )
        for layer in found.layers
    ]
    return table.render(_HEADER, rows, right=("LAYER", "PARAMETERS"))


def _summary(heat_map: HeatMap, out: Path) -> str:
    label = table.printable(heat_map.label)
    return (
        f"wrote {out}: what speaks for {label!r} (red) and against it (blue), by {heat_map.method.replace('_', ' ')}: "
        f"{table.printable(heat_map.detail)}"
    )


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be written: {error.strerror or error}") from error
