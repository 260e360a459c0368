"""`python -m bench.stream_soak`: a million images through one call to a slow reader, and the memory of both sides
meanwhile; then how many a quick reader gets, beside other ways and beside onnxruntime alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.floors import OnnxruntimeCurve
from bench.memory_curve import Curve, draw_curves
from bench.processes import BenchError, Server, resident_bytes
from bench.rows import Goal, Row, describe_machine, make_row, write_json
from bench.run import add_arguments, started
from bench.scenarios.sdk import run_client, write_images
from bench.sdk_load import SdkLoad
from bench.table import render_table

MODEL = "lenet"
SLOW_PER_SECOND = 10_000.0  # well below what the server computes
LOOKS = 500  # at the memory
IN_FLIGHT = 1_024  # of classify_many
GROWTH = Goal(5.0)
_NAMES = {"stream": "classify_stream", "many": "classify_many", "packed": "classify, 256 images per call"}

Look = Callable[[int, int], object]


def read(
    server: Server, way: str, images: Path, count: int, per_second: float = 0.0, look: Look = lambda done, pid: None
) -> tuple[SdkLoad, float]:
    """Lets a process read `count` answers: what it did, and the CPU time per image of the server. Raises BenchError."""
    flags = ["--count", str(count), "--per-second", str(per_second), "--in-flight", str(IN_FLIGHT), "--top-k", "1"]
    before_s = server.cpu_seconds()
    load = run_client(server, MODEL, images, way, *flags, look=look)
    if load.images != count:
        raise BenchError(f"{_NAMES[way]} gave {load.images} answers to {count} images")
    return load, (server.cpu_seconds() - before_s) / count * 1e6


def slow_reader(server: Server, images: Path, count: int, curves: tuple[Curve, Curve]) -> list[Row]:
    """The rows of the memory of both sides."""
    looks = 0

    def look(done: int, pid: int) -> None:
        nonlocal looks
        if done < count and done * LOOKS // count > looks:
            looks = done * LOOKS // count
            curves[0].add(done, server.resident_bytes())
            curves[1].add(done, resident_bytes(pid))

    reading, _ = read(server, "stream", images, count, SLOW_PER_SECOND, look)
    scenario = f"{count:,} images through one call, read at {SLOW_PER_SECOND:,.0f}/s"
    rows = [make_row(scenario, "wrong or missing answers", "answers", [float(reading.wrong)], goal=Goal(0, 0))]
    for side, curve in zip(("server", "client"), curves, strict=True):
        rows.append(make_row(scenario, f"{side}: memory growth", "%", [curve.growth_percent], goal=GROWTH))
        rows.append(make_row(scenario, f"{side}: largest resident memory seen", "MB", [max(curve.resident_mb)]))
    return rows


def quick_readers(server: Server, images: Path, count: int, rounds: int, floor: OnnxruntimeCurve) -> list[Row]:
    """Images per second and CPU of each way, beside onnxruntime alone in the same rounds."""
    readings: dict[str, list[tuple[SdkLoad, float]]] = {way: [] for way in _NAMES}
    for _ in range(rounds):
        floor.measure()
        for way, readings_of_way in readings.items():
            readings_of_way.append(read(server, way, images, count))
    against = f"onnxruntime alone at batch {floor.best_size}, one thread"
    floors = [1e6 / us for us in floor.best]
    rows = []
    for way, readings_of_way in readings.items():
        scenario = f"{_NAMES[way]}, {MODEL}, quick reader"
        rates = [load.images_per_second for load, _ in readings_of_way]
        server_us = [us for _, us in readings_of_way]
        rows += [
            make_row(scenario, "throughput", "images/s", rates, floors, against=against),
            make_row(scenario, "server CPU", "us/image", server_us, floor.best, against=against),
            make_row(scenario, "client CPU", "us/image", [load.cpu_us for load, _ in readings_of_way]),
            make_row(
                scenario,
                "wrong answers",
                "answers",
                [float(load.wrong) for load, _ in readings_of_way],
                goal=Goal(0, 0),
            ),
        ]
    return [*rows, *floor.rows(MODEL)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 where memory stayed within its goal and every answer was right; 1 else."""
    parser = argparse.ArgumentParser(prog="python -m bench.stream_soak", description=__doc__)
    parser.add_argument("--images", type=int, default=1_000_000, help="for the slow reader")
    parser.add_argument("--quick-images", type=int, default=200_000, help="for each quick reader and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--front", choices=("native", "grpcio"), default="native")
    add_arguments(parser, MODEL, "one")
    options = parser.parse_args(arguments)
    curves = Curve("images (server)", options.images), Curve("images (client)", options.images)
    try:
        with started(options, options.rounds, 0.0, print) as run:
            results = run.results
            floor = OnnxruntimeCurve(run.models.file(MODEL))
            images = write_images(run, MODEL)
            with run.server([MODEL], options.front) as server:
                rows = slow_reader(server, images, options.images, curves)
                rows += quick_readers(server, images, options.quick_images, options.rounds, floor)
    except BenchError as error:
        print(f"stream_soak: {error}", file=sys.stderr)
        return 1
    machine = describe_machine()
    write_json(results / "stream.json", rows, machine)
    caption = f"a slow reader of one stream; {options.front} front; {machine['cpu']}, {machine['date']}"
    draw_curves(curves, caption, results / "stream.png")
    print(f"\n{render_table(rows)}\n\nWritten to {results}: stream.json, stream.png")
    return 0 if all(row.met is not False for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
