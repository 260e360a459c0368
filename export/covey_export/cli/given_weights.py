"""What is known of the weights that a training begins with: their preprocessing and the order of their classes, by the
options, by the file itself, or by assumption; what is assumed is said."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from covey_export import weights as weights_files
from covey_export.errors import ExportError
from covey_export.networks import Network, torchvision_networks
from covey_export.report import Report
from covey_export.weights import Weights

Numbers = tuple[float, ...]

# By name: mean and deviation of pixels scaled to 0..1.
RANGES: dict[str, tuple[Numbers, Numbers]] = {"[0,1]": ((0.0,), (1.0,)), "[-1,1]": ((0.5,), (0.5,))}


def find(options: argparse.Namespace, network: Network, report: Report) -> Weights | None:
    """The weights that the options name; None: fresh ones.

    Raises InvalidWeights, and ExportError for options that do not go together.
    """
    if options.weights is None:
        if options.labels is not None:
            raise ExportError("--labels is the order of the outputs of given weights: it goes with --weights")
        return None
    said = normalisation(options)
    if options.weights == weights_files.TORCHVISION:
        found = weights_files.download(network.name)
        for note in torchvision_networks.default_weights(network.name).notes:
            report.line(f"note: {note}")
    else:
        found = weights_files.load(Path(options.weights))
    if said is not None:
        found = replace(found, mean=said[0], std=said[1])
    elif found.mean is None:
        found = _assume_normalisation(found, network, report)
    if options.labels is not None:
        labels = read_labels(options.labels)
        found.require_outputs(labels, f"--labels {options.labels}")
        return replace(found, labels=labels)
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


def read_labels(text: str) -> tuple[str, ...]:
    """The labels of a file (one a line, a JSON list, or a JSON object of index to label), or a list with commas.

    Raises ExportError.
    """
    path = Path(text)
    if not path.is_file():
        labels = tuple(part.strip() for part in text.split(",") if part.strip())
        if len(labels) < 2:
            raise ExportError(f"--labels {text}: expected a file of labels, or two or more with commas between")
        return labels
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"--labels {text}: cannot be read as text ({error})") from error
    if path.suffix.lower() == ".json":
        return _of_json(text, content)
    labels = tuple(line.strip() for line in content.splitlines() if line.strip())
    if not labels:
        raise ExportError(f"--labels {text}: the file is empty; expected one label a line")
    return labels


def _of_json(text: str, content: str) -> tuple[str, ...]:
    try:
        found = json.loads(content)
    except ValueError as error:
        raise ExportError(f"--labels {text}: no JSON ({error})") from error
    if isinstance(found, dict):
        found = found.get("id2label", found)
        if set(found) != {str(place) for place in range(len(found))}:
            raise ExportError(f"--labels {text}: expected the keys 0 to {len(found) - 1}, one for each output")
        found = [found[str(place)] for place in range(len(found))]
        # ImageNet's usual file has [WordNet id, name] for each.
        found = [each[-1] if isinstance(each, list) and each else each for each in found]
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise ExportError(f"--labels {text}: expected a list of labels, or an object of index to label")
    return tuple(found)


def normalisation(options: argparse.Namespace) -> tuple[Numbers, Numbers] | None:
    """Mean and deviation by --pixels, or by --mean and --std; None: not given. Raises ExportError."""
    if options.pixels is not None:
        if options.mean is not None or options.std is not None:
            raise ExportError("--pixels names a mean and deviation: give it, or --mean and --std, not both")
        return RANGES[options.pixels]
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


def _assume_normalisation(weights: Weights, network: Network, report: Report) -> Weights:
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
