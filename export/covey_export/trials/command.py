"""`covey try`: trains each variant, as often as there are seeds, and writes the comparison."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from covey_export.datasets import Dataset
from covey_export.datasets.loaded import LoadedDatasets
from covey_export.errors import ExportError
from covey_export.networks import Network, find_network
from covey_export.reports.progress import ProgressReport
from covey_export.trials import how_trained, page, recipes, variants
from covey_export.trials.plan import Plan
from covey_proto import atomic_files
from covey_proto.wording import plural
from covey_reports import language
from covey_reports.language import say

_MAX_TRAININGS = 100
# Options that all variants share, by their flag.
_SHARED = ("dataset", "recipe", "epochs", "batch_size", "learning_rate")


def run(
    options: argparse.Namespace, parse: Callable[[Sequence[str]], argparse.Namespace], report: ProgressReport
) -> None:
    """Trains what is not trained yet, prints the table and writes the page. `parse` reads a command line of
    `covey-export`. Raises ExportError and its kinds."""
    network = find_network(options.network)  # its data set and recipes are those of the networks that are varied, too
    if options.dataset is None:
        options.dataset = network.default_dataset
    plans = _plan(options, parse, network)
    datasets = LoadedDatasets(options.data_dir)
    judged_by_test = options.judge == "test"

    noted: list[str] = []

    def load(plan: Plan) -> Dataset:
        loaded = datasets.load(plan.entry, plan.network.spec)
        dataset = loaded if judged_by_test else loaded.with_validation()
        for note in dataset.notes:
            if note not in noted:
                noted.append(note)
                report.line(f"note: {note}")
        return dataset

    folder = options.checkpoints / f"{plans[0].entry.name}-{options.judge}".replace(":", "-").replace("/", "-")
    with language.spoken(options.lang):
        notes = how_trained.recipe_notes(plans)
    for note in notes:
        report.line(f"note: {note}")
    if notes and not any(recipes.is_own(plan.asked) for plan in plans):
        report.line(f"note: for each network's own recipe add --recipe {recipes.OWN}")
    tried = []
    for number, plan in enumerate(plans, 1):
        report.line(f"{number} of {plural(len(plans), 'variant')}: {plan.variant.title}")
        with report.brief():
            trial = plan.train(load, folder, options.seeds, options.device, report, test_once=judged_by_test)
            tried.append((plan, trial))
    tried.sort(key=lambda one: -one[1].accuracy)
    trials = [trial for _, trial in tried]
    with language.spoken(options.lang):
        title = say("{network} on {dataset}", network=options.network, dataset=plans[0].entry.name)
        report.table(title, page.header(options.judge), page.rows(trials))
        if how_trained.is_worth_a_table(plans):
            report.table(say("How they were trained"), how_trained.header(), how_trained.rows(tried))
        remarks = [*notes, *how_trained.difference_notes(tried), *page.remarks(trials)]
        for text in remarks:
            report.line(text)
        atomic_files.write_text(options.output, page.write_page(title, options.judge, tried, remarks))
    report.line(f"wrote   {options.output}")


def _plan(
    options: argparse.Namespace, parse: Callable[[Sequence[str]], argparse.Namespace], recipe_network: Network
) -> list[Plan]:
    chosen = variants.combine(options.vary)
    trainings = len(chosen) * options.seeds
    if trainings > _MAX_TRAININGS:
        raise ExportError(
            f"{plural(len(chosen), 'variant')} with {plural(options.seeds, 'seed')} each are {trainings} trainings; "
            f"expected {_MAX_TRAININGS} at most. Vary less at a time"
        )
    shared = [
        part
        for name in _SHARED
        if (value := getattr(options, name)) is not None
        for part in (f"--{name.replace('_', '-')}", str(value))
    ]
    plans = []
    for variant in chosen:
        varied = {name for name, _ in variant.settings}
        twice = [name for name in _SHARED if getattr(options, name) is not None and name.replace("_", "-") in varied]
        if twice:
            raise ExportError(f"--{twice[0].replace('_', '-')} is both given and varied; omit one of them")
        try:
            train_options = parse(["train", *variant.arguments(options.network), *shared])
        except SystemExit as error:
            raise ExportError(f"the variant {variant.title!r} is no training: see the line above") from error
        plans.append(Plan.of(variant, train_options, recipe_network))
    return plans
