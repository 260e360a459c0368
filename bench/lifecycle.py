"""A model's life in production, once around: captured, labelled, trained on, published, shadowed, promoted.

    python -m bench.lifecycle

Version 1 of a lenet is trained with few digits and served with --capture. What 1,000 callers send is captured and
labelled, as `covey label` does it, but by the known labels in a person's place. Version 2 is trained with these images
as well, runs in the shadow of version 1, and is promoted. docs/lifecycle.md shows the page that this prints.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

import covey
from bench.processes import BenchError, Server, covey_server, fetch, run_tool
from bench.publishing import wait_until_served
from covey.labelling.captures import Captures
from covey_export.datasets import Dataset, find_entry
from covey_export.datasets.dataset import Images, Labels
from covey_export.errors import ExportError
from covey_proto.layout import DEFAULT_VERSION, SHADOW_VERSION
from covey_server.images.pixels import InputSpec

REQUESTS = 1000
MODEL = "lenet"
_OLD = 50  # images of each class that version 1 is trained with
# Of the two number formats the faster one would be taken, which on a busy machine is not always the same.
_TRAINING = ("--recipe", "best", "--epochs", "40", "--precision", "float32")
_WAIT_S = 300.0  # for threads of the lowest priority, on a busy machine


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 if the version that was promoted is the better one."""
    parser = argparse.ArgumentParser(prog="python -m bench.lifecycle", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--dataset", default="sample", help="digits, by their name (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="where everything is kept (default: a folder that is deleted)")
    options = parser.parse_args(arguments)
    try:
        dataset = find_entry(options.dataset).load(InputSpec(28, 28, 1), None)
        if options.folder is not None:
            options.folder.mkdir(parents=True, exist_ok=True)
            return _run_cycle(dataset, options.folder)
        with tempfile.TemporaryDirectory() as folder:
            return _run_cycle(dataset, Path(folder))
    except (BenchError, ExportError, covey.CoveyError) as error:
        print(f"lifecycle: {error}", file=sys.stderr)
        return 1


def _run_cycle(dataset: Dataset, folder: Path) -> int:
    old, new = _split(dataset)
    _write(folder / "old" / "train", dataset.train_images[old], dataset.train_labels[old], dataset.labels)
    _write(folder / "old" / "test", dataset.test_images, dataset.test_labels, dataset.labels)
    models, captures = folder / "models", folder / "captures"
    _step(f"Version 1 is trained with {len(old):,} images.", _command("folder:old"))
    _export(folder, f"folder:{folder / 'old'}")
    (models / MODEL / DEFAULT_VERSION).write_text("1")
    flags = ("--capture", str(captures), "--capture-rate", "1", "--capture-max-files", str(REQUESTS))
    with (
        covey_server(models, "auto", folder / "server.log", (*flags, "--shadow-share", "1")) as server,
        covey.Client(server.target, deadline_ms=_WAIT_S * 1000) as client,
    ):
        _step(f"{REQUESTS:,} callers send an image each.", f"covey-server --capture captures {' '.join(flags[2:])}")
        answers = _classify(client, dataset.train_images[new])
        is_right = answers == dataset.train_labels[new]
        _say(f"answered rightly: {is_right.mean():.1%}, as nobody knows before they are labelled")
        _wait(lambda: len(list((captures / MODEL).glob("*/*.png"))) >= REQUESTS, "the images are captured")

        _step("Each is labelled, the least certain first.", f"covey label captures/{MODEL}")
        moved = _label(captures / MODEL, dataset, new)
        _say(f"labelled: {sum(moved.values()):,}; {moved['moved']:,} of them lie in another folder now")

        source = f"folder:old+capture:captures/{MODEL}"
        _step("Version 2 is trained with them as well.", _command(source))
        (models / MODEL / SHADOW_VERSION).write_text("2")
        _export(folder, f"folder:{folder / 'old'}+capture:{captures / MODEL}")
        _wait(lambda: _is_served(client, 2), "version 2 is loaded")

        count = len(dataset.test_images)
        _step(f"It runs in the shadow of version 1, while callers send {count:,} others.", "echo 2 > shadow-version")
        accuracy_before = _accuracy(client, dataset)
        _wait(lambda: _shadow(server)["images"].total() >= count, "the shadow has caught up")
        _show_shadow(_shadow(server))

        _step("Version 2 is promoted.", "echo 2 > default-version; rm shadow-version")
        (models / MODEL / DEFAULT_VERSION).write_text("2")
        (models / MODEL / SHADOW_VERSION).unlink()
        wait_until_served(server, MODEL, 2, _WAIT_S)
        accuracy_after = _accuracy(client, dataset)
        _say(
            f"accuracy on {count:,} test images, as callers get it: {accuracy_before:.1%} before, {accuracy_after:.1%} "
            f"after"
        )
    return 0 if accuracy_after > accuracy_before else 1


def _split(dataset: Dataset) -> tuple[Labels, Labels]:
    """The indices of the images to train version 1 with, and of those that callers will send."""
    order = np.random.default_rng(21).permutation(len(dataset.train_labels))
    by_class = [order[dataset.train_labels[order] == label] for label in range(len(dataset.labels))]
    old = np.concatenate([places[:_OLD] for places in by_class])
    new = np.setdiff1d(order, old)
    if len(new) < REQUESTS:
        raise BenchError(f"{dataset.name} has {len(order):,} training images; expected {len(old) + REQUESTS:,} or more")
    return old, np.random.default_rng(22).permutation(new)[:REQUESTS]


def _write(folder: Path, images: Images, labels: Labels, names: Sequence[str]) -> None:
    for name in names:
        (folder / name).mkdir(parents=True)
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        Image.fromarray(image[..., 0]).save(folder / names[label] / f"{index}.png")


def _command(dataset: str) -> str:
    return " ".join(("covey-export", *_arguments(dataset)))


def _arguments(dataset: str) -> tuple[str, ...]:
    return ("all", MODEL, *_TRAINING, "--dataset", dataset)


def _export(folder: Path, dataset: str) -> None:
    """Trains, converts and publishes the next version."""
    places = ("--models", str(folder / "models"), "--checkpoints", str(folder / "checkpoints"))
    run_tool(("covey_export", *_arguments(dataset), "--no-report", *places), folder / "export.log")


def _classify(client: covey.Client, images: Images) -> Labels:
    """The predicted class of each image, in a request of its own."""
    return np.array([client.classify(image, model=MODEL, top_k=1).best.index for image in images], np.int64)


def _accuracy(client: covey.Client, dataset: Dataset) -> float:
    return float(np.mean(_classify(client, dataset.test_images) == dataset.test_labels))


def _label(folder: Path, dataset: Dataset, sent: Labels) -> Counter[str]:
    """Labels all captured images, as a person would who knows them. Returns how many were in the right folder, and how
    many were moved into another."""
    truth = {dataset.train_images[index].tobytes(): dataset.labels[dataset.train_labels[index]] for index in sent}
    captures = Captures(folder)
    results: Counter[str] = Counter()
    while (capture := captures.next()) is not None:
        label = truth[np.asarray(Image.open(capture.path)).tobytes()]
        captures.label(capture, label)
        results["right" if label == capture.predicted else "moved"] += 1
    captures.close()
    return results


def _is_served(client: covey.Client, version: int) -> bool:
    try:
        client.model(MODEL, version)
    except covey.UnknownModel:
        return False
    return True


def _shadow(server: Server) -> Mapping[str, Counter[str]]:
    """The shadow's metrics: images by result, and those that differ by the class that was served."""
    assert server.metrics_url is not None
    counts: dict[str, Counter[str]] = {"images": Counter(), "differs": Counter()}
    for family in text_string_to_metric_families(fetch(server.metrics_url)):
        for sample in family.samples:
            if sample.name == "covey_shadow_images_total":
                counts["images"][sample.labels["result"]] += int(sample.value)
            elif sample.name == "covey_shadow_differs_total":
                counts["differs"][sample.labels["class"]] += int(sample.value)
    return counts


def _show_shadow(counts: Mapping[str, Counter[str]]) -> None:
    for result, count in sorted(counts["images"].items()):
        if count:
            _say(f'covey_shadow_images_total{{result="{result}"}} {count}')
    for label, count in counts["differs"].most_common(3):
        if count:
            _say(f'covey_shadow_differs_total{{class="{label}"}} {count}')


def _wait(ready: Callable[[], bool], event: str) -> None:
    give_up = time.monotonic() + _WAIT_S
    while not ready():
        if time.monotonic() > give_up:
            raise BenchError(f"waited {_WAIT_S:.0f} s until {event}")
        time.sleep(0.05)


def _step(text: str, command: str) -> None:
    print(f"{text}\n  $ {command}", flush=True)


def _say(text: str) -> None:
    print(f"  {text}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
