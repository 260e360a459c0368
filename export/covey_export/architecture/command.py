"""`covey show`: the layers of a network or of a model's file as a table, and drawn on a page."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from covey_export.architecture import example, notes, page
from covey_export.architecture import subject as subjects
from covey_export.architecture.example import Example
from covey_export.architecture.steps import Step
from covey_export.architecture.steps import read as read_steps
from covey_export.architecture.subject import Subject
from covey_export.datasets import Dataset
from covey_export.errors import ExportError
from covey_export.networks import find_network
from covey_export.reports.progress import ProgressReport
from covey_export.training.recipe import Recipe
from covey_proto import atomic_files
from covey_reports import language
from covey_reports.language import counted, say, sentences, words

HEADER = ("layer", "output", "size", "parameters", "multiply-adds", "each number sees")
_LABELS_SHOWN = 10


def run(options: argparse.Namespace, report: ProgressReport) -> None:
    """Prints the table, notes on it, and one image's way through the layers; with --output also draws a page. All in
    the language of --lang."""
    with language.spoken(options.lang):
        _show(options, report)


def _show(options: argparse.Namespace, report: ProgressReport) -> None:
    with report.doing(f"reading {options.network}"):
        subject = _subject(options)
    if subject.dataset is not None:
        _require_image(options.image or 0, subject.dataset)
    steps = read_steps(subject.model)
    header = words(*HEADER)
    report.table(subject.title, header, rows(steps))
    texts = [total(steps, subject.trained_parameters), *notes.find(steps)]
    for text in texts:
        report.line(text)
    result = None
    if subject.dataset is not None:
        index = options.image or 0
        result = _run_image(subject, steps, subject.dataset, index)
        batch = [] if subject.recipe is None else [describe_batch(subject.dataset, subject.recipe)]
        for text in (*batch, _describe_loss(result, index, len(subject.dataset.labels))):
            report.line(text)
    if options.output is not None:
        html = page.write_page(subject, steps, header, rows(steps), texts, result, options.image or 0)
        atomic_files.write_text(options.output, html)
        report.line(f"wrote   {options.output}")


def rows(steps: Sequence[Step]) -> list[tuple[str, ...]]:
    """A row for each layer, in the order of HEADER."""
    return [
        (
            step.name if step.kind == "input" else f"{step.name} ({say(step.kind.replace('_', ' '))})",
            " x ".join(f"{size:,}" for size in step.output),
            step.size_formula,
            f"{step.parameters_formula} = {step.parameters:,}" if step.parameters_formula else _number(step.parameters),
            _number(step.multiply_adds),
            say("the whole image") if step.view is None else f"{step.view.size[0]} x {step.view.size[1]}",
        )
        for step in steps
    ]


def total(steps: Sequence[Step], trained: int | None) -> str:
    """A sentence on all layers together. `trained` is the number of parameters in training, if it is known."""
    parameters = sum(step.parameters for step in steps)
    multiply_adds = sum(step.multiply_adds for step in steps)
    folded = ""
    if trained is not None and trained > parameters:
        folded = say(
            "The network itself has {trained:,}: in the served graph some are folded into others, such as batch "
            "normalisation into the convolution before it.",
            trained=trained,
        )
    whole = say(
        "In all {parameters} and {multiply_adds:,} multiply-adds for one image.",
        parameters=counted(parameters, "parameter"),
        multiply_adds=multiply_adds,
    )
    return sentences(whole, folded)


def describe_batch(dataset: Dataset, recipe: Recipe) -> str:
    """The first batch of a training as the network gets it: shapes, types, smallest and largest number."""
    count = min(recipe.batch_size, len(dataset.train_images))
    images = dataset.train_images[:count]
    height, width, channels = dataset.image_shape
    mean, std = (list(numbers or ()) * (channels // len(numbers or (0,))) for numbers in (recipe.mean, recipe.std))
    ends = [
        (end / 255 - mean[channel]) / std[channel]
        for channel in range(channels)
        for end in (int(images[..., channel].min()), int(images[..., channel].max()))
    ]
    labels = ", ".join(map(str, dataset.train_labels[: min(count, _LABELS_SHOWN)].tolist()))
    return say(
        "A batch of recipe {recipe}: images [{count}, {channels}, {height}, {width}] float32 from {low:.3g} to "
        "{high:.3g}, made of [{count}, {height}, {width}, {channels}] uint8; labels [{count}] int64, the first ones "
        "{labels}.",
        recipe=recipe.name,
        count=count,
        channels=channels,
        height=height,
        width=width,
        low=min(ends),
        high=max(ends),
        labels=labels,
    )


def _describe_loss(result: Example, index: int, classes: int) -> str:
    true, chance = next(score for score in result.scores if score.is_true), example.chance_loss(classes)
    return say(
        "The loss of test image {place} (label {label}) is -ln({probability:.4g}) = {loss:.4f}; to give each of "
        "{classes} classes the same probability would cost ln({classes}) = {chance:.4f}.",
        place=index,
        label=result.label,
        probability=true.probability,
        loss=result.loss,
        classes=classes,
        chance=chance,
    )


def _subject(options: argparse.Namespace) -> Subject:
    dataset = options.dataset
    if subjects.is_file(options.network):
        if options.image is not None and dataset is None:
            raise ExportError("--image goes with --dataset, the data set that has the test image")
        if options.image_size or options.grey:
            raise ExportError("a published model has its size; omit --image-size and --grey")
        return subjects.of_file(options.network, dataset=dataset, data_dir=options.data_dir)
    if options.image is not None and dataset is None:
        dataset = find_network(options.network).default_dataset
    return subjects.of_network(
        options.network,
        dataset=dataset,
        data_dir=options.data_dir,
        image_size=options.image_size,
        is_grey=options.grey,
    )


def _require_image(index: int, dataset: Dataset) -> None:
    if index >= len(dataset.test_images):
        raise ExportError(f"--image {index}: {dataset.name} has the test images 0 to {len(dataset.test_images) - 1:,}")


def _run_image(subject: Subject, steps: Sequence[Step], dataset: Dataset, index: int) -> Example:
    label = int(dataset.test_labels[index])
    return example.run(subject.model, steps, dataset.test_images[index], label, dataset.labels)


def _number(value: int) -> str:
    return f"{value:,}" if value else ""
