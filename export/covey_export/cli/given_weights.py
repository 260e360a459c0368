"""The preprocessing and class order of given weights: from the options, else from the file, else assumed; each
assumption is printed."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from covey_export import weights as weights_files
from covey_export.errors import ExportError
from covey_export.importing.settings import labels
from covey_export.networks import Network, torchvision_networks
from covey_export.option_values import PIXEL_RANGES, Numbers
from covey_export.reports.progress import ProgressReport
from covey_export.weights import Weights


def find(options: argparse.Namespace, network: Network, report: ProgressReport) -> Weights | None:
    """The weights that the options name; None: fresh ones.

    Raises InvalidWeights, and ExportError for options that do not go together.
    """
    if options.weights is None:
        if options.labels is not None:
            raise ExportError("--labels is the order of the outputs of given weights: it goes with --weights")
        return None
    mean_and_std = normalisation(options)
    if options.weights == weights_files.TORCHVISION:
        found = weights_files.download(network.name)
        for note in torchvision_networks.default_weights(network.name).notes:
            report.line(f"note: {note}")
    else:
        found = weights_files.load(Path(options.weights))
    if mean_and_std is not None:
        found = replace(found, mean=mean_and_std[0], std=mean_and_std[1])
    elif found.mean is None:
        found = _assume_normalisation(found, network, report)
    if options.labels is not None:
        names, renamed = labels.distinct(f"--labels {options.labels}", labels.read(options.labels))
        for note in renamed:
            report.line(f"note: {note}")
        found.require_outputs(names, f"--labels {options.labels}")
        return replace(found, labels=names)
    if found.labels is None:
        report.line(
            f"note: {found.name} does not say which class each output stands for; assumed is the order of the data "
            f"set's classes. If it is another one, every answer has a wrong label: name the order with --labels"
        )
    return found


def require_channels(mean: Numbers, channels: int) -> None:
    """Raises ExportError where there is not one number for all channels, or one for each."""
    if len(mean) not in (1, channels):
        raise ExportError(f"--mean and --std have {len(mean)} numbers; expected 1 or {channels}, one for each channel")


def normalisation(options: argparse.Namespace) -> tuple[Numbers, Numbers] | None:
    """Mean and deviation by --pixels, or by --mean and --std; None: not given. Raises ExportError."""
    if options.pixels is not None:
        if options.mean is not None or options.std is not None:
            raise ExportError("--pixels names a mean and deviation: give it, or --mean and --std, not both")
        return PIXEL_RANGES[options.pixels]
    if (options.mean is None) != (options.std is None):
        raise ExportError("--mean and --std go together: give both, or none")
    if options.mean is not None and len(options.mean) != len(options.std):
        raise ExportError(f"--mean has {len(options.mean)} numbers, --std {len(options.std)}; expected as many")
    if options.mean is not None and max(map(abs, options.mean)) > 1:
        raise ExportError(
            f"--mean {_say(options.mean)}: expected numbers from 0 to 1, as pixels are scaled to 0..1 first; divide "
            f"numbers for pixels of 0..255 by 255, --std too"
        )
    return None if options.mean is None else (options.mean, options.std)


def _assume_normalisation(weights: Weights, network: Network, report: ProgressReport) -> Weights:
    warning = "If the weights were trained otherwise, much accuracy is lost: say --mean and --std, or --pixels"
    if network.name.startswith(torchvision_networks.PREFIX):
        usual = torchvision_networks.default_weights(network.name)
        report.line(
            f"note: {weights.name} does not say how its pixels were normalised; assumed is what torchvision's own "
            f"weights of this network have (mean {_say(usual.mean)}, deviation {_say(usual.std)}). {warning}"
        )
        return replace(weights, mean=usual.mean, std=usual.std)
    report.line(
        f"note: {weights.name} does not say how its pixels were normalised; assumed is what the recipe says, or the "
        f"mean and deviation of the images here. {warning}"
    )
    return weights


def _say(numbers: Numbers) -> str:
    return ", ".join(f"{number:g}" for number in numbers)
