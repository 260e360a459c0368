"""What a source says of itself: how its images are prepared, and what its outputs are called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from covey_export.importing.settings.preset import PRESETS, Numbers, Preset
from covey_export.importing.settings.resizing import Resizing


@dataclass(frozen=True)
class Contract:
    """What a source says. A part is None where it says nothing. `origin` names, for people, the file or place that says
    it, and `detail` the settings there that lead to `resizing`.

    `size` is (height, width). `problem` is why the source's own way of resizing cannot be had; it does not matter where
    the user says another. `assumption` is a sentence for what is only likely, as for a network without its settings.
    """

    origin: str = ""
    detail: str = ""
    size: tuple[int, int] | None = None
    preset: Preset | None = None
    resizing: Resizing | None = None
    labels: tuple[str, ...] | None = None
    labels_origin: str = ""
    labels_notes: tuple[str, ...] = ()
    is_borrowed: bool = False  # the labels are another network's, and taken where there are as many
    activation: str | None = None  # as --activation has it
    problem: str = ""
    assumption: str = ""
    notes: tuple[str, ...] = ()

    def with_labels(self, labels: Sequence[str], origin: str) -> Contract:
        """The same with these labels; an output whose label is empty is named after its index."""
        names = tuple(label or f"class {index}" for index, label in enumerate(labels))
        notes = tuple(
            f"output {index} has no label; it is named {names[index]!r}"
            for index, label in enumerate(labels)
            if not label
        )
        return replace(self, labels=names, labels_origin=origin, labels_notes=notes)

    @property
    def has_names(self) -> bool:
        """Whether its labels are real names, and not the LABEL_0, LABEL_1, ... that Hugging Face writes for none."""
        labels = self.labels or ()
        return bool(labels) and any(label != f"LABEL_{index}" for index, label in enumerate(labels))


NOTHING = Contract()


def preset_of(mean: Numbers, std: Numbers, *, scale: float = 1 / 255, bgr: bool = False) -> Preset:
    """The preset of these numbers, by its usual name where it has one. Numbers that are all alike become one."""
    preset = Preset("numbers", _short(mean), _short(std), scale, bgr)
    for known in PRESETS.values():
        if _key(known) == _key(preset):
            return known
    return preset


def _short(numbers: Numbers) -> Numbers:
    return numbers[:1] if len(set(numbers)) == 1 else tuple(numbers)


def _key(preset: Preset) -> tuple[object, ...]:
    return (*(round(number, 6) for number in (*preset.mean, *preset.std)), round(preset.scale, 7), preset.bgr)
