"""Runs one batch: from a source to the file of rows."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TextIO

from covey_proto import __version__, layout, program
from covey_proto.image_formats import Format
from covey_proto.progress import Progress
from covey_proto.wording import plural
from covey_server.config import Config
from covey_server.errors import EngineFailed, InvalidConfiguration, NoModels, RefusedModel
from covey_server.images import decode_budget, image_formats
from covey_server.inference import devices, engine
from covey_server.models import choice_files
from covey_server.offline import errors
from covey_server.offline.answers import Answers, ClassifyOptions, Facts
from covey_server.offline.chunk_pool import ChunkPool
from covey_server.offline.chunks import chunk_images, chunked
from covey_server.offline.errors import BadSource, Stopped
from covey_server.offline.parts import Parts
from covey_server.offline.rows import Layout, row_format_of
from covey_server.offline.signals import Interrupted, Signals
from covey_server.offline.sources.opening import open_source
from covey_server.offline.sources.source import Source, with_contents
from covey_server.offline.worker import Settings
from covey_server.offline.worker_pool import Kind, WorkerPool
from covey_server.system.signals import INTERRUPTED

_PART_BYTES, _PART_S = 32 << 20, 30.0  # a part is written at the latest then
_GIVEN = 5  # labels in a row by default, where they do not exclude each other


@dataclass(frozen=True)
class Job:
    """The options of one batch; `command` has the defaults. `top_k`, `workers` and `batch_size` 0: chosen here."""

    source: tuple[str, ...]
    model: Path
    to: Path
    config: Config  # of the server: device, limits, formats
    top_k: int
    probabilities: bool
    image_column: str
    key_column: str
    max_image_bytes: int
    workers: int
    engine: Literal["local", "ray"]
    ray_address: str  # "": RAY_ADDRESS, or the cluster on this machine
    parallel: Kind
    batch_size: int
    part_images: int
    restart: bool
    strict: bool


def run(job: Job, output: TextIO) -> int:
    """Writes all rows and prints a summary to `output`; returns the exit code. Raises StartupError."""
    config = job.config
    formats = image_formats.chosen(config.image_formats)
    row_format = row_format_of(job.to)
    signals = Signals()
    source = open_source(job.source, formats, job.image_column, job.key_column, job.max_image_bytes, signals.check)
    model = model_file(job.model)
    prepare = _local_pool if job.engine == "local" else _ray_pool
    open_pool = prepare(job, model, formats, signals.check)
    parts = Parts(job.to, row_format, restart=job.restart)
    try:
        with signals:
            pool = open_pool()
            try:
                return _Run(job, source, parts, pool, signals.check).run(model, output)
            finally:
                pool.close()
    finally:
        parts.close()


def _local_pool(
    job: Job, model: Path, formats: tuple[Format, ...], watch: Callable[[], None]
) -> Callable[[], ChunkPool]:
    """What opens the workers on this machine. Raises StartupError."""
    config = job.config
    if job.ray_address:
        raise InvalidConfiguration(f"--ray-address {job.ray_address}: goes with --engine ray only; give both, or none")
    devices.refuse_mixed_installation()
    device = devices.choose(config.device, engine.available_providers(), engine.probe)
    if device.fallback:
        print(f"running on {device.name} in place of CUDA: {device.fallback}", file=sys.stderr)
    workers = job.workers or devices.usable_cores()
    decode_bytes = decode_budget.limit(config.max_decode_bytes).free_bytes
    settings = Settings(
        model, device, formats, config.max_image_pixels, job.max_image_bytes, decode_bytes, workers, job.batch_size
    )
    return partial(WorkerPool, settings, workers, job.parallel, watch)


def _ray_pool(job: Job, model: Path, formats: tuple[Format, ...], watch: Callable[[], None]) -> Callable[[], ChunkPool]:
    """What opens the workers on a cluster. Raises StartupError."""
    config = job.config
    try:
        from covey_server.offline.ray_pool import RayPool
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise errors.no_ray() from None
    if config.device not in ("auto", "cpu"):
        raise InvalidConfiguration(f"--device {config.device}: on a Ray cluster models run on CPUs only; leave it out")
    if job.parallel != "auto":
        raise InvalidConfiguration(
            f"--parallel {job.parallel}: with --engine ray workers are processes of Ray's; leave it out"
        )
    settings = Settings(model, devices.CPU, formats, config.max_image_pixels, job.max_image_bytes, 0, 1, job.batch_size)
    return partial(RayPool, job.ray_address, settings, config.max_decode_bytes, job.workers, watch)


class _Run:
    def __init__(self, job: Job, source: Source, parts: Parts, pool: ChunkPool, check: Callable[[], None]) -> None:
        self._job = job
        self._source = source
        self._parts = parts
        self._pool = pool
        self._check = check
        self._began_s = time.monotonic()

    def run(self, model: Path, output: TextIO) -> int:
        """Runs the whole batch, from the survey of the source to the summary; returns the exit code."""
        try:
            identity = self._identity(model)
            self._parts.claim(identity)
            facts = self._facts()
            options = self._options(facts)
            columns = Layout.of(facts, options)
            already_done = self._parts.position
            self._classify(facts, options, columns)
            self._parts.merge(columns, _metadata(identity, facts))
        except Interrupted:
            program.print_error(f"stopped. {self._what_is_kept()}", program.COVEY)
            return INTERRUPTED
        except Stopped as error:
            raise Stopped(f"{error}. {self._what_is_kept()}") from error
        except OSError as error:  # of the folder of parts: those of images and of the model have names of their own
            path = error.filename or self._parts.folder
            raise Stopped(f"{path}: {error.strerror or error}. {self._what_is_kept()}") from error
        return self._print_summary(facts, already_done, output)

    def _identity(self, model: Path) -> dict[str, Any]:
        """All that rows depend on: the parts of one file agree in it."""
        job, config = self._job, self._job.config
        try:
            with model.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise InvalidConfiguration(f"--model {model}: cannot be read: {error.strerror or error}") from error
        return {
            "source": self._source.survey(self._parts.folder),
            "model": {"sha256": digest, **_names(model)},
            "options": {
                "--top-k": job.top_k,
                "--probabilities": job.probabilities,
                "--image-formats": config.image_formats,
                "--max-image-pixels": config.max_image_pixels,
                "--max-image-bytes": job.max_image_bytes,
            },
            "version of Covey": __version__,
        }

    def _facts(self) -> Facts:
        try:
            return self._pool.facts()
        except (RefusedModel, EngineFailed) as error:
            raise NoModels(f"--model {self._job.model}: {error}") from error

    def _options(self, facts: Facts) -> ClassifyOptions:
        top_k, classes = self._job.top_k, len(facts.labels)
        if top_k > classes:
            raise InvalidConfiguration(f"--top-k {top_k}: expected 1 to {classes}, as many classes as the model has")
        return ClassifyOptions(top_k or (min(_GIVEN, classes) if facts.independent else 1), self._job.probabilities)

    def _classify(self, facts: Facts, options: ClassifyOptions, columns: Layout) -> None:
        source, parts = self._source, self._parts
        progress = Progress(source.total, unit="image", done=parts.position)
        blocks: list[tuple[list[str], Answers]] = []
        entries = source.entries(parts.position)
        if not self._pool.reads_files:
            entries = with_contents(entries, self._job.max_image_bytes)
        chunks = chunked(entries, chunk_images(facts, self._job.part_images))
        try:
            self._began_s = part_began_s = time.monotonic()
            for block in self._pool.answers(chunks, options, facts.batch_size):
                blocks.append(block)
                progress.step(len(block[0]), source.fraction())
                is_due = time.monotonic() - part_began_s > _PART_S
                if is_due or _is_full(blocks, self._job.part_images):
                    parts.commit(blocks, columns)
                    blocks, part_began_s = [], time.monotonic()
                self._check()
            if blocks:
                parts.commit(blocks, columns)
        except (Interrupted, BadSource) as error:
            if blocks:
                parts.commit(blocks, columns)
            if isinstance(error, BadSource) and parts.position:
                raise BadSource(f"{error}. {self._what_is_kept()}") from error
            raise
        finally:
            progress.close()
        if source.total is not None and parts.position != source.total:
            raise Stopped(f"{source.name} gave {parts.position:,} of its {source.total:,} images; this is a bug")

    def _what_is_kept(self) -> str:
        if not self._parts.position:
            return "No part was finished yet"
        return (
            f"{plural(self._parts.position, 'image')} {'is' if self._parts.position == 1 else 'are'} done and kept in "
            f"{self._parts.folder}; the same command goes on from there"
        )

    def _print_summary(self, facts: Facts, already_done: int, output: TextIO) -> int:
        tally = self._parts.tally
        seconds = max(1e-9, time.monotonic() - self._began_s)
        done = tally.images - already_done
        print(
            f"{plural(done, 'image')} in {seconds:,.1f} s: {done / seconds:,.0f} images/s on {facts.device}, "
            f"{self._pool.description}, batches of {facts.batch_size}",
            file=output,
        )
        if already_done:
            print(f"{plural(already_done, 'image')} had been done before", file=output)
        size_bytes = self._job.to.stat().st_size
        print(f"{self._job.to}: {plural(tally.images, 'row')}, {size_bytes:,} bytes", file=output)
        if self._source.left_out:
            counted = ", ".join(f"{count:,} {kind}" for kind, count in self._source.left_out.most_common())
            print(f"left out, as they are no images by their names: {counted}", file=output)
        print("\n".join(tally.lines(facts.labels, facts.abstains)), file=output)
        return 1 if self._job.strict and tally.failures else 0


def model_file(model: Path) -> Path:
    """The file that `--model` names. Of a version's folder it is the model in it; of a model's folder that of the
    default version or, without one, of the highest. Raises InvalidConfiguration."""
    if model.is_file():
        return model
    folder = model
    if model.is_dir() and not (model / layout.FILE_NAME).is_file():
        versions = [int(path.name) for path in model.iterdir() if layout.is_version(path.name)]
        choice = model / layout.DEFAULT_VERSION
        try:
            version = choice_files.read(choice)[0] if choice.exists() else max(versions, default=0)
        except (OSError, ValueError) as error:
            raise InvalidConfiguration(f"--model {model}: {error}; correct it, or name a version's folder") from None
        folder = model / str(version)
    if not (folder / layout.FILE_NAME).is_file():
        if model.is_dir() and (models := {path.parents[1] for path in model.glob(f"*/*/{layout.FILE_NAME}")}):
            raise InvalidConfiguration(
                f"--model {model}: expected one model, got a folder of models; say --model "
                + " or ".join(map(str, sorted(models)))
            )
        raise InvalidConfiguration(
            f"--model {model}: expected a file of Covey's, FILE.onnx, or a folder models/NAME or models/NAME/VERSION; "
            f"there is no {folder / layout.FILE_NAME if model.is_dir() else 'such file or folder'}"
        )
    return folder / layout.FILE_NAME


def _names(model: Path) -> dict[str, Any]:
    version = model.absolute().parent
    if layout.is_version(version.name):
        return {"name": version.parent.name, "version": int(version.name)}
    return {"name": model.stem}


def _metadata(identity: dict[str, Any], facts: Facts) -> dict[str, Any]:
    return {"model": identity["model"], "labels": facts.labels, "covey": __version__, "device": facts.device}


def _is_full(blocks: list[tuple[list[str], Answers]], images: int) -> bool:
    rows = sum(len(keys) for keys, _ in blocks)
    return rows >= images or sum(answers.nbytes for _, answers in blocks) + 100 * rows > _PART_BYTES
