"""`covey classify`: files in, one line for each out, in the order given. What fails one file stands on its line."""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from statistics import mean, median

from covey import messages
from covey.cli import files, json_lines, table
from covey.cli.connection import connect
from covey.cli.exits import Exit
from covey.client import Client
from covey.errors import (
    CallError,
    CoveyError,
    InvalidInput,
    InvalidRequest,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
    UnknownModel,
)
from covey.messages import ClassifyOptions
from covey.results import Class, Classification
from covey_proto import image_folders, image_formats
from covey_proto.progress import Progress
from covey_proto.wording import plural

NAME = "classify"
SUMMARY = "classify image files"
DESCRIPTION = f"Classify image files: {image_formats.listed()}, of any size."
_FILE_HELP = "an image file, a folder (its images, at any depth), a pattern such as '*.jpg', or - for an image on stdin"
_TOP_K_HELP = (
    "classes per image (default: 5, or all if fewer); of independent labels those that reach their threshold, K at the "
    "most (default: all of them)"
)

_IN_FLIGHT = 16  # requests under way at once, of one file each; the server makes batches of them
_AT_ONCE = 4096  # files handed to the threads at once
_FAILS_EVERY_FILE = (InvalidRequest, Unavailable, UnknownModel, Unauthenticated, PermissionDenied)
_COLUMNS = ("file", "label", "index", "probability", "error", "model", "version", "known")
_HEADER = ("FILE", "LABEL", "PROBABILITY", "NEXT")


@dataclass(frozen=True, slots=True)
class _Outcome:
    file: str
    answer: Classification | CoveyError

    @property
    def exit(self) -> Exit:
        if isinstance(self.answer, Classification):
            return Exit.OK
        return Exit.SERVER if isinstance(self.answer, CallError) else Exit.FILES_FAILED


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help=_FILE_HELP)
    parser.add_argument("--model", default="", help="name of the model (default: the server's default model)")
    parser.add_argument("--version", type=int, default=0, help="version of the model (default: the server's choice)")
    parser.add_argument("--top-k", type=int, metavar="K", help=_TOP_K_HELP)
    parser.add_argument("--downscale", action="store_true", help="make large images smaller before sending them")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="JSON Lines instead of a table: one object per file")
    form.add_argument("--csv", action="store_true", help="comma-separated values with a header instead of a table")


def run(options: argparse.Namespace) -> Exit:
    """Classifies `options.files`. Raises CoveyError for what would fail every file, after the lines there are."""
    if options.top_k is not None and options.top_k < 1:
        raise InvalidInput(f"--top-k takes a number of classes from 1 on, not {options.top_k}")
    messages.require_sendable(ClassifyOptions(options.model, options.version, options.top_k))
    write = _write_json if options.json else _write_csv if options.csv else _write_table
    with (
        connect(options, downscale=options.downscale) as client,
        closing(_classify_each(client, options)) as outcomes,
    ):
        return write(outcomes)


def _classify_each(client: Client, options: argparse.Namespace) -> Generator[_Outcome, None, None]:
    left_out: Counter[str] = Counter()
    names = list(files.expand(options.files, left_out))
    if left_out:
        kinds = image_folders.counted(left_out)
        print(f"left out {kinds}; to send them all the same, name them, as in 'DIR/*.tiff'", file=sys.stderr)
    stdin = files.read_stdin() if files.STDIN in names else b""  # not on a thread, which Ctrl-C does not reach

    def classify(file: str) -> _Outcome:
        try:
            image = stdin if file == files.STDIN else file
            answer = client.classify(image, model=options.model, version=options.version, top_k=options.top_k)
            return _Outcome(file, answer)
        except _FAILS_EVERY_FILE:
            raise
        except CoveyError as error:
            return _Outcome(file, error)

    progress = Progress(len(names))
    pool = ThreadPoolExecutor(_IN_FLIGHT)
    try:
        for start in range(0, len(names), _AT_ONCE):
            for outcome in pool.map(classify, names[start : start + _AT_ONCE]):
                progress.step()
                yield outcome
    finally:
        progress.close()
        pool.shutdown(wait=False, cancel_futures=True)  # the client's `close` ends the calls under way


def _write_json(outcomes: Iterable[_Outcome]) -> Exit:
    worst = Exit.OK
    for outcome in outcomes:
        print(json_lines.line(_record(outcome)))
        worst = max(worst, outcome.exit)
    return worst


def _write_csv(outcomes: Iterable[_Outcome]) -> Exit:
    worst = Exit.OK
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for outcome in outcomes:
        record = _record(outcome)
        record["index"] = best.index if (best := _best(outcome)) is not None else None
        record["known"] = None if record["known"] is None else str(record["known"]).lower()
        writer.writerow(["" if record[column] is None else record[column] for column in _COLUMNS])
        worst = max(worst, outcome.exit)
    return worst


def _record(outcome: _Outcome) -> dict[str, object]:
    error = outcome.answer if isinstance(outcome.answer, CoveyError) else None
    found = outcome.answer if isinstance(outcome.answer, Classification) else None
    best = _best(outcome)
    return {
        "file": outcome.file,
        "label": best and best.label,
        "probability": best and best.probability,
        "classes": found.classes if found else (),
        "independent": found and found.independent,
        "known": found and found.known,
        "error": error,
        "model": found and found.model,
        "version": found and found.version,
        "timing": found and found.timing,
    }


def _best(outcome: _Outcome) -> Class | None:
    """None where there is an error, or no independent label reached its threshold."""
    found = outcome.answer
    return found.best if isinstance(found, Classification) and found.classes else None


def _write_table(outcomes: Iterable[_Outcome]) -> Exit:
    started_s = time.perf_counter()
    seen: list[_Outcome] = []
    try:
        for outcome in outcomes:
            seen.append(outcome)
    finally:
        if seen:
            print(table.render(_HEADER, [_row(outcome) for outcome in seen], right=("PROBABILITY",)))
    elapsed_s = time.perf_counter() - started_s
    answers = [outcome.answer for outcome in seen if isinstance(outcome.answer, Classification)]
    print(f"\n{len(answers):,} of {plural(len(seen), 'file')} classified in {elapsed_s:.3f} s")
    if answers:
        print(_timing_summary(answers))
    return max(outcome.exit for outcome in seen)


def _row(outcome: _Outcome) -> tuple[str, ...]:
    file, answer = outcome.file, outcome.answer
    if isinstance(answer, CoveyError):
        return (file, "-", "-", f"error: {str(answer).removeprefix(f'{file}: ')}")
    if not answer.classes:
        return (file, "-", "-", "no label reaches its threshold")
    others = ", ".join(f"{other.label} {other.probability:.2%}" for other in answer.classes[1:])
    label = f"unknown ({answer.label})" if answer.known is False else answer.label
    return (file, label, f"{answer.probability:.2%}", others)


def _timing_summary(answers: Sequence[Classification]) -> str:
    def median_ms(stage: str) -> str:
        return f"{median(getattr(answer.timing, stage) for answer in answers) / 1_000:.2f}"

    models = sorted({f"{answer.model} version {answer.version} on {answer.timing.device}" for answer in answers})
    batch_size = mean(answer.timing.batch_size for answer in answers)
    return (
        f"by {', '.join(models)}; mean batch size {batch_size:.1f}\n"
        f"median ms: round trip {median_ms('round_trip_us')}, of it in the server {median_ms('total_us')} "
        f"(decode {median_ms('decode_us')}, queue {median_ms('queue_us')}, compute {median_ms('compute_us')})"
    )
