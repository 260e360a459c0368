"""What each sub-command does with its options: each network becomes a job, and the job's steps run in order."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from covey_export import checkpoint as checkpoints
from covey_export import devices, listing, naming, summary
from covey_export import new_network as new_networks
from covey_export.cli import given_weights, recipe_changes
from covey_export.datasets import Dataset, Entry, find_entry
from covey_export.datasets.loaded import LoadedDatasets
from covey_export.errors import ExportError, InvalidCheckpoint, InvalidDataset, MissingDataset
from covey_export.export_job import ExportJob
from covey_export.networks import NETWORKS, Network, find_network, size
from covey_export.quantization.precision import Precision
from covey_export.reports import version_folders
from covey_export.reports.comparison import MAX_MODELS
from covey_export.reports.comparison import compare as compare_versions
from covey_export.reports.progress import ProgressReport
from covey_export.summary import Outcome
from covey_export.trained_model import TrainedModel
from covey_export.training import distributed
from covey_export.training.recipes import FINE_TUNE, find_recipe, recipes_by_full_name, recipes_of
from covey_proto import atomic_files
from covey_proto.resize import Resize
from covey_proto.wording import plural
from covey_reports import language

_FITTING = {"--keep-validation": "keep_validation", "--calibrate": "calibrate", "--abstain": "abstain"}


def list_all(options: argparse.Namespace, report: ProgressReport) -> None:
    if options.network:
        network, dataset, on = find_network(options.network), None, ""
        if options.dataset is not None:
            entry = find_entry(options.dataset)
            if entry.image_shape is not None:
                network = network.fitted_to(entry.name, entry.image_shape)
            dataset, on = entry.load(network.spec, options.data_dir), f" on {entry.name}"
        report.table(f"Recipes of {network.name}{on}", listing.RECIPE_HEADER, listing.recipe_rows(network, dataset))
        for note in listing.recipe_notes(network, dataset):
            report.line(note)
        return
    if options.dataset is not None:
        raise ExportError(
            "--dataset goes with a network, whose recipes are shown: covey export list NETWORK --dataset NAME"
        )
    report.table("Networks", listing.NETWORK_HEADER, listing.network_rows())
    report.line(listing.LENT)
    report.table("Data sets", listing.DATASET_HEADER, listing.dataset_rows(options.data_dir))


def show(options: argparse.Namespace, report: ProgressReport) -> None:
    from covey_export.architecture import command  # onnxruntime and matplotlib take a second to import

    command.run(options, report)


def examine(options: argparse.Namespace, report: ProgressReport) -> None:
    from covey_export.examination import command

    command.run(options, report)


def try_variants(options: argparse.Namespace, report: ProgressReport) -> None:
    from covey_export.cli.parser import build
    from covey_export.trials import command  # matplotlib takes a second to import

    command.run(options, build().parse_args, report)


def new_network(options: argparse.Namespace, report: ProgressReport) -> None:
    for path in new_networks.write(options.name, options.source, Path.cwd()):
        report.line(f"wrote   {path.name}")
    report.line(f"{options.name}.md says how to look at it, train it and compare it with {options.source}")


def train(options: argparse.Namespace, report: ProgressReport) -> None:
    job = _job(options, options.network, report)
    _read_dataset(job, options)
    _run_training(job, options)


def convert(options: argparse.Namespace, report: ProgressReport) -> None:
    job = _job(options, options.network, report)
    trained = job.load_trained()
    for precision in options.variants or [Precision.FLOAT32]:
        job.publish(trained, precision)


def verify(options: argparse.Namespace, report: ProgressReport) -> None:
    job = _job(options, options.network, report)
    job.verify(job.load_trained(), options.version)


def draw_report(options: argparse.Namespace, report: ProgressReport) -> None:
    job = _job(options, options.network, report)
    with language.spoken(options.lang):
        job.draw_report(job.load_trained(), options.version)


def compare(options: argparse.Namespace, report: ProgressReport) -> None:
    if not 2 <= len(options.compared) <= MAX_MODELS:
        there = ", ".join(version_folders.names(options.models)) or "none"
        raise ExportError(
            f"{plural(len(options.compared), 'model')} to compare; expected 2 to {MAX_MODELS}. In {options.models} "
            f"there are: {there}; --models DIR names another folder"
        )
    folders = [version_folders.find_version_folder(text, options.models) for text in options.compared]

    def load(folder: Path, dataset: str) -> Dataset:
        from covey_export.architecture import subject  # onnxruntime takes a second to import

        found = subject.of_file(str(folder), dataset=options.dataset or dataset, data_dir=options.data_dir).dataset
        assert found is not None  # it was named
        return found

    with language.spoken(options.lang):
        written = compare_versions(folders, options.output, load)
    report.line(f"wrote   {written}")


def import_model(options: argparse.Namespace, report: ProgressReport) -> None:
    from covey_export.importing import command  # as no other sub-command needs it

    command.run(options, report)


def run_all(options: argparse.Namespace, report: ProgressReport) -> None:
    names = options.networks or list(NETWORKS)
    if len(names) > 1 and distributed.processes() > 1:
        raise ExportError("torchrun trains one network at a time; name one")
    if len(names) > 1 and (options.name or options.checkpoint or options.weights):
        raise ExportError("--name, --checkpoint and --weights are for one network; for several there is --checkpoints")
    datasets = LoadedDatasets(options.data_dir)
    jobs = [_job(options, name, report, datasets, is_one_of_many=len(names) > 1) for name in names]
    for job in jobs:  # what is missing is found before hours of work on others
        _read_dataset(job, options)
    outcomes: list[Outcome] = []
    while jobs:
        # Each holds its data set, and all that was made of it: none is kept longer than its turn.
        outcomes += _run_job(jobs.pop(0), options, is_one_of_many=len(names) > 1)
    if outcomes:
        report.table("Summary", summary.HEADER[:-1], [outcome.row()[:-1] for outcome in outcomes])
        for outcome in outcomes:  # no cell: a terminal would break a long path
            report.line(str(outcome.published.path))
    if outcomes and options.summary_markdown:
        atomic_files.write_text(options.summary_markdown, summary.markdown(outcomes))


def _run_job(job: ExportJob, options: argparse.Namespace, *, is_one_of_many: bool) -> list[Outcome]:
    trained = _run_training(job, options, is_one_of_many=is_one_of_many)
    if not distributed.is_first_process():
        return []
    published = [job.publish_if_new(trained)]
    if options.report:
        with language.spoken(options.lang):
            job.draw_report(trained, published[0].info.version)
    published += [job.publish_if_new(trained, precision) for precision in options.variants]
    job.report.line()
    return [Outcome(trained.checkpoint, each) for each in published]


def _read_dataset(job: ExportJob, options: argparse.Namespace) -> None:
    """Where there is none and none was named, the error says so."""
    try:
        _ = job.dataset
    except (MissingDataset, InvalidDataset) as error:
        if options.dataset is not None:
            raise
        raise type(error)(
            f"no --dataset was given, so that {job.entry.name} was taken, the usual one of "
            f"{job.network.name}; name yours (a data set, or folder:PATH). {error}"
        ) from error


def _run_training(job: ExportJob, options: argparse.Namespace, *, is_one_of_many: bool = False) -> TrainedModel:
    network = job.network
    recipe = find_recipe(network.name, _recipe_name(options), job.entry.name)
    weights = job.weights
    if weights is not None and weights.mean is not None:
        # Weights that saw pixels normalised in one way go on seeing them so.
        given_weights.require_channels(weights.mean, network.image_shape[2])
        recipe = replace(recipe, mean=weights.mean, std=weights.std)
    changes = recipe_changes.find(options, recipe, network)
    if changes and not recipe.epochs:
        flags = recipe_changes.flags(changes)
        if not is_one_of_many:
            raise ExportError(f"{network.name} has nothing to learn; omit {flags}")
        job.report.line(f"note: {network.name} has nothing to learn; {flags} does not apply")
        changes = {}
    return job.train(
        recipe,
        devices.choose(options.device),
        seed=options.seed,
        changes=changes,
        restart=options.restart,
    )


def _recipe_name(options: argparse.Namespace) -> str | None:
    """The recipe asked for; whoever brings weights goes on from them unless they say otherwise."""
    name: str | None = options.recipe
    return FINE_TUNE if name is None and options.weights else name


def _job(
    options: argparse.Namespace,
    network_name: str,
    report: ProgressReport,
    datasets: LoadedDatasets | None = None,
    *,
    is_one_of_many: bool = False,
) -> ExportJob:
    network = find_network(network_name)
    entry = find_entry(options.dataset or network.default_dataset, unreadable=options.unreadable)
    folder = _checkpoint_folder(options, network, entry.name)
    if entry.image_shape is not None:
        # All of such an image is seen in training, and so in service.
        network = replace(network.fitted_to(entry.name, entry.image_shape), crop=1.0)
    checkpoint_labels = None
    fits = _fits(options, network, entry.name, report, is_one_of_many=is_one_of_many)
    keeps_validation = fits
    if (folder / checkpoints.FILE).exists() and not options.restart:
        found = checkpoints.load(folder)
        checkpoint_labels = found.labels
        keeps_validation = fits or found.kept_images > 0
        if options.recipe is not None and not options.trains:
            asked = find_recipe(network.name, options.recipe).name
            if asked != found.recipe.name:
                raise InvalidCheckpoint(f"the checkpoint in {folder} is of recipe {found.recipe.name}, not {asked}")
        if found.network == network.name:
            network = found.of_same_images(network)  # what was once said need not be said again
    elif entry.image_shape is None and network.smallest_side is not None:
        height, width, _ = network.image_shape
        network = network.fitted_to(entry.name, (height, width, 3))
    return ExportJob(
        network=_with_images(network, options, entry),
        entry=entry,
        datasets=datasets or LoadedDatasets(options.data_dir),
        checkpoint_folder=folder,
        models=options.models,
        model_name=naming.require_model_name(options.name or network.model_name),
        report=report,
        weights=given_weights.find(options, network, report),
        checkpoint_labels=checkpoint_labels,
        labels_named=options.labels is not None,
        keeps_head=options.epochs == 0,
        min_accuracy=options.min_accuracy,
        keeps_validation=keeps_validation,
        calibrate=fits and options.calibrate,
        abstain=options.abstain if fits else None,
        embedding=options.embedding,
    )


def _fits(
    options: argparse.Namespace, network: Network, dataset: str, report: ProgressReport, *, is_one_of_many: bool
) -> bool:
    """Whether images are kept from training to fit numbers to. Raises ExportError where nothing is trained."""
    flags = [flag for flag, field in _FITTING.items() if getattr(options, field)]
    if not flags or find_recipe(network.name, _recipe_name(options), dataset).epochs:
        return bool(flags)
    if not is_one_of_many:
        raise ExportError(f"{network.name} has nothing to learn; omit {', '.join(flags)}")
    report.line(f"note: {network.name} has nothing to learn; {', '.join(flags)} does not apply")
    return False


def _checkpoint_folder(options: argparse.Namespace, network: Network, dataset: str) -> Path:
    """Where the checkpoint is or will be. What goes on from a training whose recipe is not said takes the one there
    is; raises InvalidCheckpoint where there are several."""
    if options.checkpoint is not None:
        folder: Path = options.checkpoint
        return folder
    usual = find_recipe(network.name, _recipe_name(options)).name
    folder = checkpoints.default_folder(network.name, dataset, usual, options.checkpoints)
    if options.trains or options.recipe is not None or (folder / checkpoints.FILE).exists():
        return folder
    folders = {
        recipe: checkpoints.default_folder(network.name, dataset, recipe, options.checkpoints)
        for recipe in (*recipes_of(network.name), *recipes_by_full_name(network.name))
    }
    there = {recipe: other for recipe, other in folders.items() if (other / checkpoints.FILE).exists()}
    if len(there) > 1:
        raise InvalidCheckpoint(
            f"{network.name} was trained on {dataset} with the recipes {', '.join(there)}; say which with --recipe"
        )
    return next(iter(there.values()), folder)


def _with_images(network: Network, options: argparse.Namespace, entry: Entry) -> Network:
    """The network with what the options say of the images' size and of how they come to it."""
    image_size, crop = options.image_size, options.crop
    resize = Resize(options.resize) if options.resize is not None else network.resize
    if entry.image_shape is not None and (image_size is not None or options.grey):
        raise ExportError(
            f"{entry.name} has images of {size(entry.image_shape)}; --image-size and --grey are for folder:PATH"
        )
    height, width, channels = network.image_shape
    if image_size is not None:
        network = network.fitted_to(f"--image-size {image_size}", (image_size, image_size, channels))
        height, width, _ = network.image_shape
    if options.grey:
        network = network.fitted_to("--grey", (height, width, 1))
    if resize is not network.resize:
        network = replace(network, resize=resize, crop=1.0)
    if crop is not None:
        if network.resize is not Resize.CENTER_CROP:
            raise ExportError("--crop goes with --resize center_crop")
        network = replace(network, crop=float(np.float32(crop)))  # what a model's file holds
    if options.background is not None:
        network = replace(network, background=options.background)
    return network


COMMANDS: Mapping[str, Callable[[argparse.Namespace, ProgressReport], None]] = {
    "list": list_all,
    "show": show,
    "examine": examine,
    "try": try_variants,
    "new": new_network,
    "train": train,
    "convert": convert,
    "verify": verify,
    "report": draw_report,
    "compare": compare,
    "all": run_all,
    "import": import_model,
}
