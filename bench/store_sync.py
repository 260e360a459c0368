"""What callers notice while a version is fetched from a store of models: their p99 then, and between two fetches.

    python -m bench.store_sync models/lenet/1/model.onnx --megabytes 100 --rounds 5

The store is a web server on this machine. It gives way to the server and to the caller, as one on another machine
would. Each round publishes a version there, with a large file beside the model, while calls come at a constant rate;
it lasts until that version is served.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import samples
from bench.load import OpenLoad, open_load
from bench.models import model_parser
from bench.processes import BenchError, Server, covey_server, fetch, first_line, own_process, tail
from bench.publishing import wait_until_served

TIMEOUT_S = 10.0  # of a call
_MAX_SECONDS = 600.0
_MAX_FETCH_S = 120.0
_BESIDE = "report.html"  # a file beside a model that is fetched with it


@dataclass(frozen=True)
class Round:
    """The p99 of the calls between two fetches and during one, and how long that fetch took."""

    quiet_ms: float
    syncing_ms: float
    sync_s: float


def measure(
    model: Path, folder: Path, rate: float, seconds: float, rounds: int, file_bytes: int
) -> tuple[list[Round], OpenLoad]:
    """The rounds, each with `seconds` of quiet before it, and all calls. Raises BenchError."""
    name = model.parents[1].name
    messages = samples.golden_messages(name, model)
    store = _Store(model, folder / "store", file_bytes)
    store.publish(1)
    moments_ns: list[tuple[int, int, int]] = []
    with _web_server(store.folder, folder / "store.log") as url, _server(url, folder) as server:
        with open_load(server, messages, rate=rate, seconds=_MAX_SECONDS, timeout_s=TIMEOUT_S) as running:
            time.sleep(seconds)  # to warm up
            for version in range(2, rounds + 2):
                quiet_ns = time.perf_counter_ns()
                time.sleep(seconds)
                began_ns = time.perf_counter_ns()
                store.publish(version)
                wait_until_served(server, name, version, _MAX_FETCH_S)
                moments_ns.append((quiet_ns, began_ns, time.perf_counter_ns()))
            running.stop()
            load = running.finish()
        _require_fetched(server, (1 + rounds) * file_bytes)
    found = [
        Round(load.percentile_ms(99, quiet, began), load.percentile_ms(99, began, ended), (ended - began) / 1e9)
        for quiet, began, ended in moments_ns
    ]
    return found, load


class _Store:
    """The folder of a store. What its versions hold is made once, before there are calls."""

    def __init__(self, model: Path, folder: Path, file_bytes: int) -> None:
        self.folder = folder
        self._name = model.parents[1].name
        made = folder.with_name("made")
        made.mkdir()
        shutil.copyfile(model, made / "model.onnx")
        (made / _BESIDE).write_bytes(os.urandom(file_bytes))
        self._files = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in made.iterdir()}

    def publish(self, version: int) -> None:
        """Puts a version in place of those before; the sums, which tell of it, come last."""
        target = self.folder / self._name / str(version)
        target.mkdir(parents=True)
        sums = ""
        for path, digest in self._files.items():
            os.link(path, target / path.name)
            sums += f"{digest}  {self._name}/{version}/{path.name}\n"
        (self.folder / ".SHA256SUMS").write_text(sums)
        (self.folder / ".SHA256SUMS").replace(self.folder / "SHA256SUMS")
        for other in target.parent.iterdir():
            if other != target:
                shutil.rmtree(other)


@contextmanager
def _web_server(store: Path, log: Path) -> Iterator[str]:
    command = ["nice", "-n", "19", sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    with own_process([*command, "--directory", str(store)], log) as process:
        line = first_line(process, "http.server", log)
        if (found := re.search(r"http://[\d.:]+/", line)) is None:
            raise BenchError(f"http.server did not start: {line}{tail(log)}")
        yield found[0]


def _server(url: str, folder: Path) -> AbstractContextManager[Server]:
    flags = ("--model-cache", str(folder / "cache"), "--sync-interval-s", "0.5", "--reload-interval-s", "0.2")
    return covey_server(url, "auto", folder / "server.log", flags)


def _require_fetched(server: Server, file_bytes: int) -> None:
    """Else versions were served that were never fetched."""
    assert server.metrics_url is not None
    found = re.search(r"^covey_models_fetched_bytes_total (\S+)$", fetch(server.metrics_url), re.MULTILINE)
    if found is None or float(found[1]) < file_bytes:
        raise BenchError(f"less was fetched than the {file_bytes:,} bytes that were published")


def main() -> int:
    """The exit code: 1 where it could not be measured."""
    parser = model_parser("bench.store_sync", __doc__)
    parser.add_argument("--rate", type=float, default=200.0, help="calls per second (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of quiet before each fetch (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--megabytes", type=int, default=100, help="of each version (default: %(default)s)")
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as folder:
            size = options.megabytes << 20
            rounds, load = measure(options.model, Path(folder), options.rate, options.seconds, options.rounds, size)
    except BenchError as error:
        print(f"store_sync: {error}", file=sys.stderr)
        return 1
    print("| quiet p99 | while syncing | ratio | sync |\n| --- | --- | --- | --- |")
    for each in rounds:
        print(
            f"| {each.quiet_ms:.2f} ms | {each.syncing_ms:.2f} ms | {each.syncing_ms / each.quiet_ms:.2f} | "
            f"{each.sync_s:.1f} s |"
        )
    ratio = median(each.syncing_ms / each.quiet_ms for each in rounds)
    print(
        f"median ratio {ratio:.2f}; {load.calls.failures:,} of {load.calls.calls:,} calls failed; {options.megabytes} "
        f"MiB a version, {options.rate:g} calls/s{'; ' + load.flaw if load.flaw else ''}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
