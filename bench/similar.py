"""Whether embeddings find images of the same class, and what an index of many images costs.

    python -m bench.similar --json bench/results/similar.json

For each data set a network is trained once and kept: the test images are the queries, the training images the gallery.
Precision at 10 is the share of the ten nearest that are of the query's class, by embeddings (cosine) and by raw pixels
(Euclidean distance). Then an index of 100,000 images, those of the first data set again and again with noise: what it
takes to make, search and change, and which share of the ten nearest the approximate search finds. Needs a quiet machine
to mean anything; extras export and similar.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.processes import BenchError, run_tool
from bench.rows import Row, describe_machine, make_row, write_json
from covey.similar import About, Index, index, search
from covey.similar.graph import INSTALL, is_installed
from covey_export.datasets import Dataset, find_entry
from covey_export.datasets.dataset import Images, Labels
from covey_export.errors import ExportError
from covey_export.networks import find_network
from covey_proto import layout
from covey_server.errors import CoveyServerError
from covey_server.inference.engine import Engine

TOP = 10
_DEFAULT = ("fashion-mnist:vgg", "cifar10:vgg")
_BATCH = 64
_QUERIES_AT_ONCE = 256
_NOISE = 8  # of pixels, standard deviation
_CHANGED = 100  # part of the images that are removed, and added again

Vectors = NDArray[np.float32]


def model_of(dataset: str, network: str, options: argparse.Namespace, work: Path) -> Path:
    """The file of the network, trained with its recipe `best` unless that was done before. Raises BenchError."""
    name = f"{network}-{dataset}"
    path = work / "models" / name / "1" / layout.FILE_NAME
    if not path.is_file():
        print(f"bench: training {network} on {dataset}", file=sys.stderr, flush=True)
        command = ["covey_export", "all", network, "--dataset", dataset, "--embedding", "--no-report", "--name", name]
        command += ["--models", str(work / "models"), "--checkpoints", str(work / "checkpoints")]
        command += ["--recipe", options.recipe] if options.recipe else []
        command += ["--epochs", str(options.epochs)] if options.epochs else []
        run_tool(command, work / f"{name}.log")
    return path


def embeddings(engine: Engine, images: Images) -> Vectors:
    """`[N, D]`."""
    starts = range(0, len(images), _BATCH)
    return np.concatenate([engine.run_with_embedding(images[start : start + _BATCH])[1] for start in starts])


def precision(gallery: Vectors, gallery_labels: Labels, queries: Vectors, query_labels: Labels) -> list[float]:
    """For each query the share of its TOP nearest in the gallery, by Euclidean distance, that have its label. Of
    vectors of length 1 the same are nearest by cosine."""
    half_squares = (gallery**2).sum(axis=1) / 2
    shares: list[float] = []
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        batch = slice(start, start + _QUERIES_AT_ONCE)
        distances = half_squares - queries[batch] @ gallery.T  # half the squares, less the query's own: the same order
        nearest = np.argpartition(distances, TOP - 1, axis=1)[:, :TOP]
        shares += (gallery_labels[nearest] == query_labels[batch, None]).mean(axis=1).tolist()
    return shares


def pixel_vectors(images: Images) -> Vectors:
    """Each image's pixels, `[N, H * W * C]`, 0 to 1."""
    return np.asarray(images.reshape(len(images), -1) / 255, np.float32)


def measure_precision(name: str, network: str, engine: Engine, data: Dataset, count: int) -> list[Row]:
    """Precision at TOP of `count` queries, by embeddings and by pixels."""
    queries, query_labels = data.test_images[:count], data.test_labels[:count]
    print(f"bench: {name}, {len(queries):,} queries", file=sys.stderr, flush=True)
    by_vector = precision(
        search.unit(embeddings(engine, data.train_images)),
        data.train_labels,
        search.unit(embeddings(engine, queries)),
        query_labels,
    )
    by_pixels = precision(pixel_vectors(data.train_images), data.train_labels, pixel_vectors(queries), query_labels)
    return [
        _mean(name, f"precision at {TOP}, embedding of {network} ({engine.embedding_size})", by_vector),
        _mean(name, f"precision at {TOP}, pixels", by_pixels),
    ]


def _mean(name: str, figure: str, values: Sequence[float]) -> Row:
    return make_row(name, figure, "", [float(np.mean(values))])


def noisy(images: Images, count: int) -> Iterator[Images]:
    """`count` images in batches: the given ones again and again, from the second time on with noise."""
    random = np.random.default_rng(0)
    for start in range(0, count, _BATCH):
        batch = images[np.arange(start, min(start + _BATCH, count)) % len(images)]
        if start >= len(images):
            batch = (batch + random.normal(0, _NOISE, batch.shape)).clip(0, 255).astype(np.uint8)
        yield batch


def measure_index(engine: Engine, data: Dataset, count: int, searches: int, rounds: int, work: Path) -> list[Row]:
    """What an index of `count` images takes to make, search and change."""
    name, folder = f"{count:,} images", work / "index"
    print(f"bench: an index of {name}", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    began = time.perf_counter()
    vectors = np.concatenate([engine.run_with_embedding(batch)[1] for batch in noisy(data.train_images, count)])
    embedding_s = time.perf_counter() - began
    about = About("bench", 1, "", engine.embedding_size, str(work))
    seconds = {"make": _timed(lambda: index.create(folder, about, _new_images(vectors)))}
    kinds = {"vectors": "*.f32", "graph": "*.usearch", "all files": "*"}
    sizes = {kind: sum(path.stat().st_size for path in folder.glob(pattern)) for kind, pattern in kinds.items()}
    opening_s = [_timed(lambda: Index.open(folder)) for _ in range(rounds)]
    opened = Index.open(folder)
    queries = embeddings(engine, data.test_images[:searches])
    rates: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(rounds):
        for exact in rates:
            rates[exact].append(len(queries) / _timed(partial(_search_all, opened, queries, exact=exact)))
    recall = [_recall(opened, query) for query in queries]
    changed = [name for name, *_ in _new_images(vectors, _CHANGED)]
    seconds["remove"] = _timed(lambda: index.change(folder, remove=changed))
    seconds["add"] = _timed(lambda: index.change(folder, add=_new_images(vectors, _CHANGED)))
    shutil.rmtree(folder)
    return [
        make_row(name, "embeddings, by the engine", "images/s", [count / embedding_s]),
        make_row(name, "make the index", "s", [seconds["make"]]),
        *(make_row(name, f"size: {kind}", "MB", [size / 1e6]) for kind, size in sizes.items()),
        make_row(name, "open", "ms", [1000 * opening for opening in opening_s]),
        make_row(name, "search" if opened.is_approximate else "search (no graph)", "queries/s", rates[False]),
        make_row(name, "search, exact", "queries/s", rates[True]),
        _mean(name, f"recall at {TOP} of the search", recall),
        make_row(name, f"remove {len(changed):,}", "s", [seconds["remove"]]),
        make_row(name, f"add {len(changed):,}", "s", [seconds["add"]]),
    ]


def _search_all(opened: Index, queries: Vectors, *, exact: bool) -> None:
    for query in queries:
        opened.search(query, TOP, exact=exact)


def _recall(opened: Index, query: Vectors) -> float:
    exact = {match.name for match in opened.search(query, TOP, exact=True)}
    return len(exact & {match.name for match in opened.search(query, TOP)}) / len(exact)


def _new_images(vectors: Vectors, step: int = 1) -> Iterator[index.NewImage]:
    for row in range(0, len(vectors), step):
        yield f"{row}.png", (0, 0), vectors[row]


def _timed(do: Callable[[], object]) -> float:
    began = time.perf_counter()
    do()
    return time.perf_counter() - began


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 once everything was measured, whatever it is; 1 where something could not be: the rest is printed."""
    parser = argparse.ArgumentParser(prog="python -m bench.similar", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--on", action="append", metavar="DATASET:NETWORK", help=f"repeatable (default: {', '.join(_DEFAULT)})"
    )
    parser.add_argument("--recipe", default="best", help="of the trainings (default: %(default)s)")
    parser.add_argument("--epochs", type=int, help="of the trainings (default: the recipe's)")
    parser.add_argument("--queries", type=int, default=10_000, help="test images of each data set to search with")
    parser.add_argument("--images", type=int, default=100_000, help="of the index; 0: none is made")
    parser.add_argument("--searches", type=int, default=1_000, help="of the index, in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", type=Path, default=Path("bench/results/similar"), help="kept for the next run")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows there")
    options = parser.parse_args(arguments)
    work: Path = options.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    if not is_installed():
        print(f"bench: usearch is not installed, so that every search is exact; {INSTALL}", file=sys.stderr)
    rows: list[Row] = []
    failed = False
    for pair in options.on or _DEFAULT:
        try:
            dataset, _, network = pair.rpartition(":")
            rows += _measure(dataset, network, options, work, with_index=not rows)
        except (BenchError, ExportError, CoveyServerError) as error:
            print(f"bench: {pair}: {error}", file=sys.stderr)
            failed = True
    machine = describe_machine()
    print(f"{machine['cpu']}, {machine['cores']} cores, {machine['date']}, load {machine['load_average']:.1f}")
    print("| of | figure | median | smallest to largest |\n| --- | --- | --- | --- |")
    for row in rows:
        print(f"| {row.scenario} | {row.figure} | {row.value:,.4g} {row.unit} | {row.low:,.4g} to {row.high:,.4g} |")
    if options.json is not None:
        write_json(options.json, rows, machine)
    return int(failed)


def _measure(dataset: str, network: str, options: argparse.Namespace, work: Path, *, with_index: bool) -> list[Row]:
    """The rows of a data set, and those of an index of its images."""
    entry, shape = find_entry(dataset), find_network(network)
    if entry.image_shape is not None:
        shape = shape.fitted_to(entry.name, entry.image_shape)
    data = entry.load(shape.spec, None)
    engine = Engine(model_of(dataset, network, options, work))
    rows = measure_precision(dataset, network, engine, data, options.queries)
    if options.images and with_index:
        rows += measure_index(engine, data, options.images, options.searches, options.rounds, work)
    return rows


if __name__ == "__main__":
    sys.exit(main())
