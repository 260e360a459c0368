"""`covey-server --check`: loads, checks and measures the models as a server would, and prints what it found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from prometheus_client import CollectorRegistry

from covey_proto.wording import plural
from covey_server.config import Config
from covey_server.fronts.security import Security
from covey_server.images import decode_budget
from covey_server.inference import devices
from covey_server.inference.model_file import other_name
from covey_server.inference.served_model import ServedModel
from covey_server.models.catalog import Catalog
from covey_server.observability.metrics import Metrics
from covey_server.resources import open_repository

_REFUSED = 3


def print_findings(config: Config, output: TextIO) -> int:
    """Prints what a server of these settings would serve, and how fast. Answers the exit code: 0 where every version
    found can be served, 3 where one is refused. A server starts in both cases, and says so in its log. Raises
    StartupError where it would not start, as it would."""
    Security.of(config)  # whether the files can be used; its log tells what they hold
    device, repository, mirror = open_repository(config, Metrics(CollectorRegistry()))
    if mirror is not None:
        mirror.stop()
    cores = devices.usable_cores()
    print(f"device    {device.name} ({device.provider})", file=output)
    if device.fallback:
        print(f"          in place of CUDA: {device.fallback}", file=output)
    print(f"cores     {cores} usable", file=output)
    workers, reserves = devices.share_cores(max(1, cores // config.processes), config.workers)
    print(f"processes {_processes(cores, repository.catalog.served, config.processes)}", file=output)
    print(f"workers   {workers}, and {reserves} for full batches; {config.threads} thread(s) in each", file=output)
    room = decode_budget.limit(config.max_decode_bytes, config.processes)
    print(f"decoding  with at most {room.free_bytes / 2**20:.0f} MiB: {room.source}", file=output)
    for model in repository.catalog.served:
        print(file=output)
        print("\n".join(_describe(model, repository.catalog)), file=output)
    for refusal in repository.catalog.refusals:
        print(f"\nmodel {refusal.name} version {refusal.version} is REFUSED: {refusal.reason}", file=output)
    if not repository.catalog.refusals:
        return 0
    served, refused = plural(len(repository.catalog.served), "version"), len(repository.catalog.refusals)
    print(
        f"\nexit code {_REFUSED}: {refused:,} refused. A server starts all the same, and serves {served}", file=output
    )
    return _REFUSED


def _processes(cores: int, models: Sequence[ServedModel], processes: int) -> str:
    """How many are set, and how many would help the model that computes fastest."""
    times = [(min(ns / size for size, ns in each.cost.measured.items()) / 1e3, each.name) for each in models]
    image_us, name = min(times)
    useful = devices.useful_processes(cores, image_us)
    if useful <= processes:
        return f"{processes}; more would not help"
    return (
        f"{processes}; --processes {useful} would help {name} ({image_us:.0f} us an image) with one image per call: "
        f"one interpreter cannot keep {cores} cores busy"
    )


def _describe(model: ServedModel, catalog: Catalog) -> Sequence[str]:
    is_one_of_several = sum(each.name == model.name for each in catalog.served) > 1
    remark = " (the default)" if catalog.is_default(model) else ""
    if not remark and is_one_of_several and catalog.is_default_version(model):
        remark = " (the default version)"
    height, width, channels = model.input_shape
    cost = model.cost
    lines = [
        f"model {model.name} version {model.version}{remark}",
        *([f"  file    says that it is {said}"] if (said := other_name(model.info, model.name, model.version)) else []),
        f"  input   {height} x {width} x {channels} uint8, {len(model.labels)} classes",
        f"  golden  largest difference {model.golden_difference:.1e}",
        f"  loaded  in {model.load_s * 1000:.0f} ms, {model.memory_bytes / 2**20:.1f} MiB",
        "  batch   run time   per image   images/s of one worker",
    ]
    for size, run_ns in cost.measured.items():
        image_us = run_ns / size / 1e3
        mark = "  <- up to here images gather" if size == cost.best_batch_size else ""
        lines.append(f"  {size:>5}   {run_ns / 1e6:>5.2f} ms   {image_us:>6.1f} us   {1e6 / image_us:>12,.0f}{mark}")
    return lines
