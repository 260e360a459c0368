"""The command line `covey-export`: arguments in, exit code out. The steps themselves are pipeline.py's."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import covey_proto
from covey_export import atomic_files, devices, listing, naming, summary
from covey_export import checkpoint as checkpoints
from covey_export.checkpoint import Checkpoint
from covey_export.datasets import find_entry
from covey_export.errors import ExportError
from covey_export.networks import NETWORKS, find_network
from covey_export.pipeline import Pipeline
from covey_export.recipes import find_recipe
from covey_export.report import Report
from covey_export.summary import Outcome

_INTERRUPTED = 130  # what a shell reports for a process ended by SIGINT


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one sub-command. 0: done, 2: an error that was explained, 130: stopped by Ctrl-C."""
    options = _parser().parse_args(arguments)
    try:
        options.command(options, Report())
    except ExportError as error:
        return _fail(str(error), error.exit_code)
    except OSError as error:
        return _fail(str(error), ExportError.exit_code)
    except KeyboardInterrupt:
        return _fail("stopped by Ctrl-C; nothing half-made was left behind", _INTERRUPTED)
    return 0


def _fail(message: str, exit_code: int) -> int:
    print(f"covey-export: {message}", file=sys.stderr)
    return exit_code


def _list(options: argparse.Namespace, report: Report) -> None:
    report.table("Networks", listing.NETWORK_HEADER, listing.network_rows())
    report.table("Data sets", listing.DATASET_HEADER, listing.dataset_rows(options.data_dir))


def _train(options: argparse.Namespace, report: Report) -> None:
    _run_training(_pipeline(options, options.network, report), options)


def _convert(options: argparse.Namespace, report: Report) -> None:
    _pipeline(options, options.network, report).convert()


def _verify(options: argparse.Namespace, report: Report) -> None:
    _pipeline(options, options.network, report).verify(options.version)


def _all(options: argparse.Namespace, report: Report) -> None:
    names = options.networks or list(NETWORKS)
    if len(names) > 1 and (options.name or options.checkpoint):
        raise ExportError("--name and --checkpoint are for one network; for several there is --checkpoints")
    pipelines = [_pipeline(options, name, report) for name in names]
    for pipeline in pipelines:
        pipeline.prepare()
    outcomes = []
    for pipeline in pipelines:
        trained = _run_training(pipeline, options)
        outcomes.append(Outcome(trained, pipeline.convert()))
        report.line()
    report.table("Summary", summary.HEADER, [outcome.row() for outcome in outcomes])
    if options.summary_markdown:
        atomic_files.write_text(options.summary_markdown, summary.markdown(outcomes))


def _run_training(pipeline: Pipeline, options: argparse.Namespace) -> Checkpoint:
    return pipeline.train(
        find_recipe(pipeline.network.name, options.recipe),
        devices.choose(options.device),
        seed=options.seed,
        epochs=options.epochs,
        restart=options.restart,
    )


def _pipeline(options: argparse.Namespace, network_name: str, report: Report) -> Pipeline:
    network = find_network(network_name)
    entry = find_entry(options.dataset or network.default_dataset)
    return Pipeline(
        network=network,
        entry=entry,
        data_dir=options.data_dir,
        checkpoint_folder=options.checkpoint
        or checkpoints.default_folder(network.name, entry.name, options.checkpoints),
        models=getattr(options, "models", Path("models")),
        model_name=naming.require_model_name(getattr(options, "name", None) or network.name),
        report=report,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="covey-export",
        description="Trains image classification networks, converts each to one ONNX file and verifies it.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"covey-export {covey_proto.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace, Report], None], text: str) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        added.set_defaults(command=command)
        _add_data_dir(added)
        return added

    add("list", _list, "Show the networks, the data sets, and where each data set was found.")

    train = add("train", _train, "Train a network, or go on with its unfinished checkpoint.")
    train.add_argument("network", metavar="NETWORK", help="see `covey-export list`")
    _add_places(train)
    _add_training(train)

    convert = add("convert", _convert, "Turn a finished checkpoint into the next version of a model, verified.")
    convert.add_argument("network", metavar="NETWORK", help="see `covey-export list`")
    _add_places(convert)
    _add_models(convert)

    verify = add("verify", _verify, "Hold a published model against its checkpoint once more.")
    verify.add_argument("network", metavar="NETWORK", help="see `covey-export list`")
    _add_places(verify)
    _add_models(verify)
    verify.add_argument("--version", type=_positive, metavar="N", help="of the model (default: the highest)")

    every = add("all", _all, "Train, convert and verify one or more networks (none named: all of them).")
    every.add_argument("networks", metavar="NETWORK", nargs="*", help="see `covey-export list`")
    _add_places(every)
    _add_training(every)
    _add_models(every)
    every.add_argument("--summary-markdown", type=Path, metavar="FILE", help="write the summary table there too")
    return parser


def _add_data_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="folder of data sets (default: COVEY_DATA, if it is set)"
    )


def _add_places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", metavar="NAME", help="a data set, or folder:PATH (default: the network's own)")
    parser.add_argument(
        "--checkpoints",
        type=Path,
        default=Path("checkpoints"),
        metavar="DIR",
        help="parent of the checkpoints' folders, which are named NETWORK-DATASET (default: checkpoints)",
    )
    parser.add_argument("--checkpoint", type=Path, metavar="DIR", help="the very folder of the checkpoint")


def _add_training(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recipe", default="tutorial", metavar="NAME", help="how to train (default: tutorial)")
    parser.add_argument("--epochs", type=_positive, metavar="N", help="in place of the recipe's")
    parser.add_argument("--seed", type=_natural, metavar="N", help="of weights and order (default: 0)")
    parser.add_argument("--device", choices=devices.CHOICES, default="auto", help="to train on (default: auto)")
    parser.add_argument("--restart", action="store_true", help="train anew, whatever checkpoint there is")


def _add_models(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--models", type=Path, default=Path("models"), metavar="DIR", help="the models folder (default: models)"
    )
    parser.add_argument("--name", metavar="NAME", help="of the model (default: the network's)")


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 up, got {text!r}")
    return int(text)


def _positive(text: str) -> int:
    if _natural(text) == 0:
        raise argparse.ArgumentTypeError("expected a whole number from 1 up, got '0'")
    return int(text)
