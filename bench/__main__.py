"""`python -m bench`: measures the server against its floors, prints the table, writes bench/results/."""

import argparse
import contextlib
import math
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.http2_frames import length_prefixed
from bench.measurement import Subjects, measure
from bench.picture import draw_cpu
from bench.processes import BenchError, classify, covey_server, echo_server, run_tool
from bench.raw_onnxruntime import RawOnnxruntime
from bench.rows import Row, describe_machine, render_table, write_json
from covey_proto.v1.classifier_pb2 import ClassifyRequest, Pixels

RESULTS = Path(__file__).parent / "results"
NETWORK = "lenet"
MESSAGES = 16  # different ones, sent in turn


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 once everything was measured, whatever the ratios are; 1 where it could not be."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--models", type=Path, help=f"folder with {NETWORK}/1/model.onnx; default: trains one")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one load")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write to; default: bench/results")
    options = parser.parse_args(arguments)
    if not sys.platform.startswith("linux"):
        print("bench: CPU time is read from /proc, so this runs on Linux only", file=sys.stderr)
        return 1
    results: Path = options.results
    results.mkdir(parents=True, exist_ok=True)
    try:
        models = options.models.resolve() if options.models else train_model(results)
        rows = run(models, results, options.rounds, options.seconds)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    machine = describe_machine()
    caption = f"{machine['cpu']}, {machine['cores']} cores, {machine['date']}"
    write_json(results / "latest.json", rows, machine)
    draw_cpu(rows, caption, results / "latest.png")
    print(f"\n{render_table(rows)}\n\n{caption}. The load generator shares the machine; {options.rounds} rounds.")
    print(f"Written: {results / 'latest.json'}, {results / 'latest.png'}")
    return 0


def train_model(results: Path) -> Path:
    """A models folder with a lenet of one epoch, made once: its weights do not change what it costs."""
    models = results / "models"
    if not (models / NETWORK / "1" / "model.onnx").is_file():
        _report(f"training a {NETWORK} for this and later runs")
        command = ["covey_export", "all", NETWORK, "--dataset", "sample", "--epochs", "1", "--no-report"]
        folders = ["--models", str(models), "--checkpoints", str(results / "checkpoints")]
        run_tool([*command, *folders], results / "export.log")
    return models


def run(models: Path, results: Path, rounds: int, seconds: float) -> list[Row]:
    """Starts all servers side by side, idle but for the one under load, and measures them."""
    model = models / NETWORK / "1" / "model.onnx"
    if not model.is_file():
        raise BenchError(f"no {NETWORK}/1/model.onnx in {models}; without --models one is trained")
    raw = RawOnnxruntime(model)
    image_bytes = math.prod(raw.image_shape)
    pixels = random.Random(0)
    requests = [
        ClassifyRequest(model=NETWORK, pixels=Pixels(data=pixels.randbytes(image_bytes))) for _ in range(MESSAGES)
    ]
    with contextlib.ExitStack() as stack:
        messages = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "messages"
        messages.write_bytes(b"".join(length_prefixed(each.SerializeToString()) for each in requests))
        _report("starting the servers")
        native, grpcio = (
            stack.enter_context(covey_server(models, front, results / f"{front}.log")) for front in ("native", "grpcio")
        )
        answer = classify(native, requests[0])
        echo = stack.enter_context(echo_server(len(answer)))
        return measure(Subjects(echo, raw, native, grpcio), messages, rounds, seconds, _report)


def _report(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
