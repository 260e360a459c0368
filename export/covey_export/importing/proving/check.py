"""Compares the usual settings: how accurate the original is on labelled images when it is fed in other ways than the
chosen one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from covey_export.errors import InvalidSource
from covey_export.importing.proving import label_orders
from covey_export.importing.proving.original import Original
from covey_export.importing.proving.samples import Samples
from covey_export.importing.settings import resizing
from covey_export.importing.settings.activation import Answer
from covey_export.importing.settings.preset import PRESETS, Preset, swapped
from covey_export.importing.settings.resizing import Resizing
from covey_export.importing.sources.onnx_file import OnnxFile
from covey_proto.resize import Resize

MAX_IMAGES = 200
_MIN_GAIN = 3  # images more than are lost, at the least
_Z = 2.5  # standard errors: many settings are tried, and one of them is lucky
_GAP = 0.08  # between confidence and accuracy, that one setting is nearer than another

HEADER = ("setting", "top-1", "confidence", "")


@dataclass(frozen=True, eq=False)
class Row:
    """One setting. `change` says how it differs from the chosen one, and `options` how to ask for it; both are empty
    for the chosen one."""

    setting: str
    change: str
    options: str
    right: NDArray[np.bool_]  # of each image
    confidence: float

    @property
    def accuracy(self) -> float:
        return float(self.right.mean())

    @property
    def surplus(self) -> float:
        """How far the confidence is from the accuracy."""
        return abs(self.confidence - self.accuracy)

    def cells(self, best: Row) -> tuple[str, ...]:
        """The row of the printed table."""
        mark = "chosen" if not self.change else "best" if self is best else ""
        return (self.setting, f"{self.accuracy:.1%}", f"{self.confidence:.2f}", mark)


@dataclass(frozen=True)
class Table:
    """All settings; `rows` begins with the chosen one."""

    rows: tuple[Row, ...]
    images: int

    @property
    def best(self) -> Row:
        """The most accurate setting; the chosen one where none is more accurate, else the one whose confidence fits
        best."""
        return max(self.rows, key=lambda row: (row.accuracy, not row.change, -row.surplus))

    @property
    def advice(self) -> str | None:
        """A sentence, where another setting does clearly better than the chosen one."""
        chosen, best = self.rows[0], self.best
        if not is_clearly_better(best.right, chosen.right):
            return None
        return (
            f"another setting does clearly better on these {self.images} images: {best.change} gives "
            f"{best.accuracy:.1%}, the one chosen {chosen.accuracy:.1%}. Import it with {best.options}"
        )

    @property
    def hint(self) -> str | None:
        """A sentence where accuracy does not tell two settings apart, but confidence does: a network that is fed as in
        training is about as sure as it is right."""
        chosen = self.rows[0]
        others = [
            row for row in self.rows[1:] if row.accuracy >= chosen.accuracy and row.surplus < chosen.surplus - _GAP
        ]
        if not others:
            return None
        best = min(others, key=lambda row: row.surplus)
        return (
            f"these images do not settle it: {best.change} is as accurate ({best.accuracy:.1%}; the one chosen "
            f"{chosen.accuracy:.1%}), and its confidence of {best.confidence:.2f} fits that better than "
            f"{chosen.confidence:.2f} does here. If the network was trained so, import it with {best.options}"
        )


def is_clearly_better(other: NDArray[np.bool_], chosen: NDArray[np.bool_]) -> bool:
    """Whether what the first gains over the second, on the same images, is more than luck."""
    gained, lost = int((other & ~chosen).sum()), int((chosen & ~other).sum())
    return gained - lost >= _MIN_GAIN and gained - lost > _Z * math.sqrt(gained + lost)


def compare(
    file: OnnxFile,
    original: Original,
    preset: Preset,
    chosen: Resizing,
    answer: Answer,
    labels: Sequence[str],
    read_samples: Callable[[Resizing], Samples],
) -> Table:
    """Compares the settings. `read_samples` gives the labelled images, resized in some way; all of them in the same
    order."""
    samples = read_samples(chosen)
    if samples.labels is None:
        raise ValueError("this is a bug: images to check on have labels")
    truth = samples.labels
    channels = original.signature.channels

    def score(images: NDArray[np.uint8], scaling: Preset, source: Original = original) -> NDArray[np.float32]:
        return answer.probabilities(source.run(images, scaling))

    def row(
        probabilities: NDArray[np.float32], setting: str, change: str, options: str, order: Sequence[int] | None = None
    ) -> Row:
        outputs = probabilities.argmax(axis=1)
        predicted = outputs if order is None else np.asarray(order)[outputs]
        return Row(setting, change, options, predicted == truth, float(probabilities.max(axis=1).mean()))

    original_probabilities = score(samples.images, preset)
    rows = [row(original_probabilities, f"{_brief(preset, channels)}; {chosen.describe(original.signature)}", "", "")]
    # With labels in a wrong order, a wrong scaling may be right more often than the right one: each scaling is judged
    # by the order that suits it best.
    best_preset, best_change, best_options, best_probabilities = preset, "", "", original_probabilities
    best_right = chosen_right = label_orders.best(original_probabilities, labels, truth, is_guessed=True)
    for other, change, options in _presets(preset, original):
        other_probabilities = score(samples.images, other)
        rows.append(row(other_probabilities, _brief(other, channels), change, options))
        right = label_orders.best(other_probabilities, labels, truth)
        if right.mean() > best_right.mean() and is_clearly_better(right, chosen_right):
            best_preset, best_change, best_options, best_probabilities = other, change, options, other_probabilities
            best_right = right
    is_changed = best_preset is not preset
    for other_resizing, change, options in _resizings(chosen, original):
        images = read_samples(other_resizing).images
        rows.append(
            row(
                score(images, best_preset),
                other_resizing.describe(original.signature)
                + (f"; {_brief(best_preset, channels)}" if is_changed else ""),
                " and ".join(filter(None, (best_change, change))),
                f"{best_options} {options}".strip(),
            )
        )
    if (other_layout := _other_layout(file, original)) is not None:
        name = other_layout.signature.layout
        rows.append(
            row(score(samples.images, preset, other_layout), f"layout {name}", f"the layout {name}", f"--layout {name}")
        )
    for order, what in label_orders.likely(labels, best_probabilities, truth):
        rows.append(
            row(
                best_probabilities, what, " and ".join(filter(None, (best_change, what))),
                f"{best_options} and a --labels file in that order".strip().removeprefix("and "), order,
            )
        )  # fmt: skip
    return Table(tuple(rows), len(truth))


def _presets(chosen: Preset, original: Original) -> Iterator[tuple[Preset, str, str]]:
    """Other scalings, and each with the other order of colours."""
    signature = original.signature
    is_colour = signature.channels == 3
    seen = [_key(chosen, signature.channels)]
    scalings = [] if signature.datatype == "UINT8" else list(PRESETS.values())
    for base in (chosen, *scalings):
        for preset in (base, swapped(base)) if is_colour else (base,):
            if (not is_colour and len(preset.mean) > 1) or _key(preset, signature.channels) in seen:
                continue
            seen.append(_key(preset, signature.channels))
            changes, options = [], []
            if preset.name != chosen.name:
                changes.append(f"the scaling of {preset.name} in place of {_name_of(chosen)}")
                options.append(f"--like {preset.name}")
            if preset.bgr != chosen.bgr:
                changes.append("BGR in place of RGB" if preset.bgr else "RGB in place of BGR")
            preset_of_name = PRESETS.get(preset.name)
            if preset.bgr != chosen.bgr or (preset_of_name is not None and preset.bgr != preset_of_name.bgr):
                options.append("--bgr" if preset.bgr else "--rgb")
            if (
                preset_of_name is None and len(preset.mean) + len(preset.std) > 2
            ):  # in the network's order of colours, too
                options += [
                    f"{flag} {_list(numbers)}" for flag, numbers in (("--mean", preset.mean), ("--std", preset.std))
                ]
            yield preset, " and ".join(changes), " ".join(options)


def _brief(preset: Preset, channels: int) -> str:
    """A preset for the table, which must fit a terminal: its name in place of the numbers where it has one."""
    if preset.name not in PRESETS:
        return preset.describe(channels)
    order = "" if channels == 1 else "BGR, " if preset.bgr else "RGB, "
    return f"{order}--like {preset.name}"


def _list(numbers: Sequence[float]) -> str:
    return ",".join(f"{number:.6g}" for number in numbers)


def _name_of(preset: Preset) -> str:
    return preset.name if preset.name in PRESETS else "the numbers given"


def _key(preset: Preset, channels: int) -> tuple[object, ...]:
    scale, shift = preset.factors(channels)
    return (*np.round(scale, 8).tolist(), *np.round(shift, 4).tolist(), preset.bgr)


def _resizings(chosen: Resizing, original: Original) -> Iterator[tuple[Resizing, str, str]]:
    for policy in (Resize.STRETCH, Resize.CENTER_CROP, Resize.SHORTER_SIDE):
        if policy is not chosen.policy:
            length = resizing.usual_length(original.signature) if policy is Resize.SHORTER_SIDE else 0
            yield (
                replace(chosen, policy=policy, resize_to=length),
                f"resizing by {policy.value} in place of {chosen.policy.value}",
                f"--resize {policy.value}",
            )


def _other_layout(file: OnnxFile, original: Original) -> Original | None:
    """The original fed in the other layout, where the shape of its input allows that."""
    signature = original.signature
    other = replace(signature, layout="NHWC" if signature.layout == "NCHW" else "NCHW")
    try:
        fed_otherwise = Original(file, other)
    except InvalidSource:
        return None
    return fed_otherwise if fed_otherwise.classes == original.classes else None
