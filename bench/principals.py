"""What one principal that floods the server does to another one's latency, by what the flooding one may.

    python -m bench.principals MODEL.onnx --seconds 10 --rounds 5

The quiet principal sends one image after the other over a connection of its own, by turns alone and beside the flood.
Each row is a fresh server with other limits for the flooding one. With --give-way the flood's generator gets only the
CPU time that the server and the quiet caller leave (nice 19): on a machine of its own it would take none of theirs.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

import covey
from bench.load import Caller, closed_loop, put_load
from bench.models import model_parser
from bench.processes import BenchError, Server, covey_server
from covey_load.recording import Recording
from covey_proto.v1.classifier_pb2 import ClassifyRequest, Pixels

QUIET, FLOODING = "quiet-principal", "flooding-principal"
_LOWEST = 19  # as `nice` counts
LIMIT = 1.2  # times the p99 of the quiet one alone


@dataclass(frozen=True)
class Row:
    """The p99 of the quiet principal alone and beside the flood, and what the flood got, as medians of the rounds."""

    alone_ms: float
    beside_ms: float
    ratio: float
    flood_per_s: float
    refused_share: float


def measure(
    models: Path, name: str, folder: Path, seconds: float, rounds: int, in_flight: int, *, gives_way: bool = False
) -> Iterator[tuple[str, Row]]:
    """The rows, each with what the flooding principal may."""
    for text, may in (
        ("as much as it likes", ""),
        ('priority = "batch"', 'priority = "batch"'),
        ("in_flight = 2", "in_flight = 2"),
        ("images_per_s = 200", "images_per_s = 200"),
        ('priority = "batch", in_flight = 2, images_per_s = 200',
         'priority = "batch"\nin_flight = 2\nimages_per_s = 200'),
    ):  # fmt: skip
        limits, tokens = folder / "limits.toml", folder / "tokens"
        limits.write_text(f'[flooding]\nprincipals = ["{_principal(FLOODING)}"]\n{may}\n')
        tokens.touch(mode=0o600)
        tokens.write_text(f"{QUIET}\n{FLOODING}\n")
        flags = ("--auth-token-file", str(tokens), "--limits-file", str(limits))
        with covey_server(models, "auto", folder / "server.log", flags) as server:
            yield text, _measure(server, _message(server, name), seconds, rounds, in_flight, gives_way=gives_way)


def _principal(token: str) -> str:
    return f"token:{hashlib.sha256(token.encode()).hexdigest()[:12]}"


def _message(server: Server, name: str) -> bytes:
    with covey.Client(server.target, token=QUIET) as client:
        size = client.model(name).input
    assert size is not None, "the server serves it"
    pixels = bytes(size.height * size.width * size.channels)
    return ClassifyRequest(model=name, top_k=1, pixels=Pixels(data=pixels)).SerializeToString()


def _measure(server: Server, message: bytes, seconds: float, rounds: int, in_flight: int, *, gives_way: bool) -> Row:
    quiet, flooding = Caller(token=QUIET), Caller(token=FLOODING, max_failure_share=1.0)

    def put_flood() -> Recording:
        if gives_way:
            give_way()
        return closed_loop(server, [message], in_flight, seconds=2 * seconds, caller=flooding)

    put_load(server, [message], 1, seconds / 4, quiet)  # to warm up
    alone, beside, per_s, refused = [], [], [], []
    for _ in range(rounds):
        alone.append(_p99_ms(put_load(server, [message], 1, seconds, quiet)))
        with ThreadPoolExecutor(1) as pool:
            flood = pool.submit(put_flood)
            beside.append(_p99_ms(put_load(server, [message], 1, seconds, quiet)))
            calls = flood.result()
        per_s.append((calls.calls - calls.failures) / (2 * seconds))
        refused.append(calls.failures / calls.calls)
    ratios = [one / other for one, other in zip(beside, alone, strict=True)]
    return Row(median(alone), median(beside), median(ratios), median(per_s), median(refused))


def give_way() -> None:
    """Gives the calling thread the lowest priority, and so the processes that it starts. Linux only: elsewhere it is
    the process that has one."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST)


def _p99_ms(calls: Recording) -> float:
    return float(np.percentile(calls.service_ms, 99))


def main() -> int:
    """The exit code: 1 where the server could not be measured."""
    parser = model_parser("bench.principals", __doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="alone and beside by turns (default: %(default)s)")
    parser.add_argument("--in-flight", type=int, default=64, help="calls of the flood (default: %(default)s)")
    parser.add_argument("--give-way", action="store_true", help="the flood's generator has the lowest priority")
    options = parser.parse_args()
    name, models = options.model.parents[1].name, options.model.parents[2]
    print(f"| the flooding principal may | quiet p99 alone | beside it | ratio (at most {LIMIT:g}) | flood | refused |")
    print("| --- | --- | --- | --- | --- | --- |")
    try:
        with tempfile.TemporaryDirectory() as folder:
            rows = measure(
                models, name, Path(folder), options.seconds, options.rounds, options.in_flight,
                gives_way=options.give_way,
            )  # fmt: skip
            for text, row in rows:
                print(
                    f"| {text} | {row.alone_ms:.2f} ms | {row.beside_ms:.2f} ms | {row.ratio:.2f} | "
                    f"{row.flood_per_s:,.0f}/s | {row.refused_share:.0%} |",
                    flush=True,
                )
    except BenchError as error:
        print(f"principals: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
