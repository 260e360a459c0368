"""`covey batch` against a hand-written loop (bench.batch_loop) on the same images and cores, by turns.

    python -m bench.batch --rounds 5

Each turn is a whole command, from its start to its file. There are 100,000 images of 28 x 28, half of them JPEG, half
PNG, for LeNet; and photographs of 640 x 480 for a network of 224 x 224.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from bench import photographs
from bench.models import PHOTO_NETWORK, Models
from bench.processes import BenchError, run_tool
from bench.rows import Goal, Row, describe_machine, make_row, write_json
from covey_export.datasets import find_entry
from covey_export.errors import MissingDataset
from covey_server.images.pixels import InputSpec

GOAL = Goal(0.95, at_least=True)
LOOPS = ("threads", "processes")
_DIGIT = InputSpec(28, 28, 1)
_PER_FOLDER = 1000
_DISTINCT = 50  # photographs: to compute one takes longer than to classify many


def write_digits(folder: Path, count: int) -> None:
    """MNIST where COVEY_DATA has it, else the embedded sample, again and again."""
    try:
        pixels = find_entry("mnist").load(_DIGIT, None).train_images
    except MissingDataset:
        pixels = find_entry("sample").load(_DIGIT, None).train_images
    for number in range(count):
        if number % _PER_FOLDER == 0:
            subfolder = folder / f"{number // _PER_FOLDER:04}"
            subfolder.mkdir(parents=True, exist_ok=True)
        kind = "png" if number % 2 else "jpg"
        image = Image.fromarray(pixels[number % len(pixels)].reshape(_DIGIT.height, _DIGIT.width))
        image.save(subfolder / f"{number:06}.{kind}")


def write_photographs(folder: Path, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    files = [photographs.jpeg(photographs.photograph(seed)) for seed in range(min(count, _DISTINCT))]
    for number in range(count):
        (folder / f"{number:06}.jpg").write_bytes(files[number % len(files)])


def timed(command: Sequence[object], log: Path) -> tuple[float, float]:
    """Runs a command: its seconds, and the CPU seconds of it and all that it starts; its output goes to `log`. Raises
    BenchError if it fails."""
    usage_before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    run_tool([*map(str, command)], log)
    seconds = time.perf_counter() - began
    usage_after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, usage_after.ru_utime + usage_after.ru_stime - usage_before.ru_utime - usage_before.ru_stime


def measure(name: str, folder: Path, images: int, model: Path, rounds: int, work: Path) -> list[Row]:
    """The rows of one set of images."""
    rates: dict[str, list[float]] = {kind: [] for kind in ("covey", *LOOPS)}
    cpu_us: dict[str, list[float]] = {kind: [] for kind in rates}
    for number in range(rounds):
        print(f"bench: {name}, round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        for kind in rates:
            out = work / f"{name}-{kind}.csv"
            loop = ["bench.batch_loop", folder, model, out, kind]
            covey = ["covey_server", "batch", folder, "--model", model, "--to", out, "--restart", "--device", "cpu"]
            seconds, cpu_s = timed(covey if kind == "covey" else loop, work / f"{name}-{kind}.log")
            rates[kind].append(images / seconds)
            cpu_us[kind].append(cpu_s / images * 1e6)
    require_alike(work / f"{name}-covey.csv", work / f"{name}-threads.csv", images)
    rows = [make_row(name, kind, "images/s", rates[kind]) for kind in LOOPS]
    rows += [make_row(name, "covey", "images/s", rates["covey"], rates[kind], GOAL, against=kind) for kind in LOOPS]
    return rows + [make_row(name, f"{kind}, CPU", "us/image", cpu_us[kind]) for kind in rates]


def require_alike(covey: Path, loop: Path, images: int) -> None:
    """Raises BenchError unless both have a row for each image, and nearly always the same class. (A JPEG that is made
    smaller is resized otherwise by the server: docs/preprocessing.md.)"""
    ours, theirs = (
        {Path(row["key"]).name: row["index"] for row in csv.DictReader(io.StringIO(path.read_text()))}
        for path in (covey, loop)
    )
    alike = sum(ours.get(key) == index for key, index in theirs.items())
    print(f"bench: {alike:,} of {len(theirs):,} images have the same class by both", file=sys.stderr)
    if not len(ours) == len(theirs) == images or alike < 0.9 * images:
        raise BenchError(f"expected {images:,} rows that agree, got {len(ours):,} and {len(theirs):,}, {alike:,} alike")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 once everything was measured, whatever the ratios are; 1 where something could not be."""
    parser = argparse.ArgumentParser(prog="python -m bench.batch", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--images", type=int, default=100_000, help="of 28 x 28; 0: none")
    parser.add_argument("--photographs", type=int, default=2_000, help="of 640 x 480; 0: none")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", type=Path, default=Path("bench/results/batch"), help="kept for the next run")
    parser.add_argument("--models", type=Path, help="folder with lenet and shufflenet; by default they are exported")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows there")
    options = parser.parse_args(arguments)
    work: Path = options.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    models = Models(
        options.models or work / "models", None if options.models else work, lambda text: print(text, file=sys.stderr)
    )
    rows: list[Row] = []
    try:
        for name, write, count, network in (
            ("digits", write_digits, options.images, "lenet"),
            ("photographs", write_photographs, options.photographs, PHOTO_NETWORK),
        ):
            if count:
                folder = work / f"{name}-{count}"
                if not folder.exists():
                    partial = work / f".{name}-{os.getpid()}"
                    write(partial, count)
                    partial.rename(folder)
                rows += measure(name, folder, count, models.file(network).absolute(), options.rounds, work)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    machine = describe_machine()
    print(f"{machine['cpu']}, {machine['cores']} cores, {machine['date']}, load {machine['load_average']:.1f}")
    print("| images | by | median | smallest to largest | against the loop of |\n| --- | --- | --- | --- | --- |")
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.against}: {row.ratio:.3f}"
        spread = f"{row.low:,.0f} to {row.high:,.0f}"
        print(f"| {row.scenario} | {row.figure} | {row.value:,.0f} {row.unit} | {spread} | {ratio} |")
    if options.json is not None:
        write_json(options.json, rows, machine)
    return 0


if __name__ == "__main__":
    sys.exit(main())
