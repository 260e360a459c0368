"""What a source says of itself, beside its network: how its images are prepared, and what its outputs are called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from covey_export.importing.settings.preset import PRESETS, Numbers, Preset
from covey_export.importing.settings.resizing import Resizing


@dataclass(frozen=True)
class Contract:
    """Each part is None where nothing is said. `origin` names the place where it stands, for people, and `detail` the
    settings there that lead to `resizing`.

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

    @property
    def has_names(self) -> bool:
        """Whether its labels are more than the LABEL_0, LABEL_1, ... that Hugging Face has for none."""
        labels = self.labels or ()
        return bool(labels) and any(label != f"LABEL_{place}" for place, label in enumerate(labels))


NOTHING = Contract()


def preset(mean: Numbers, std: Numbers, *, scale: float = 1 / 255, bgr: bool = False) -> Preset:
    """By its usual name where it has one. Numbers that are all alike become one."""
    found = Preset("numbers", _short(mean), _short(std), scale, bgr)
    for usual in PRESETS.values():
        if _key(usual) == _key(found):
            return usual
    return found


def _short(numbers: Numbers) -> Numbers:
    return numbers[:1] if len(set(numbers)) == 1 else tuple(numbers)


def _key(preset: Preset) -> tuple[object, ...]:
    return (*(round(number, 6) for number in (*preset.mean, *preset.std)), round(preset.scale, 7), preset.bgr)


def with_labels(said: Contract, labels: Sequence[str], origin: str) -> Contract:
    """And these labels; an output without one is named after its place."""
    names = tuple(label or f"class {place}" for place, label in enumerate(labels))
    notes = tuple(f"output {place} has no label; it is named {names[place]!r}" for place in _empty(labels))
    return replace(said, labels=names, labels_origin=origin, labels_notes=notes)


def _empty(labels: Sequence[str]) -> list[int]:
    return [place for place, label in enumerate(labels) if not label]
