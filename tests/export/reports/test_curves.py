"""The training curves: which line is whose, and numbers that can be read."""

from __future__ import annotations

import re

import pytest

from covey_export.checkpoint import Epoch
from covey_export.reports.drawing.curves import draw_curves
from covey_reports import canvas
from covey_reports.canvas import BLUE, VERMILION

STEEP = tuple(Epoch(10 / (place + 1) ** 2, 0.5, 0.5, 9 / (place + 1) ** 2) for place in range(20))


def _svg(history: tuple[Epoch, ...]) -> str:
    with canvas.style():
        return "".join(picture.svg for picture in draw_curves(history))


def _lines(svg: str, colour: str) -> list[int]:
    """How many points each drawn line of a colour has; those of legends have two."""
    paths = re.findall(rf'<path d="([^"]+)"[^>]*style="fill: none;[^"]*stroke: {colour}\b', svg, re.IGNORECASE)
    return [len(re.findall("[ML]", path)) for path in paths]


def test_labels_of_a_logarithmic_axis_are_plain_numbers() -> None:
    svg = _svg(STEEP)
    assert "mathdefault" not in svg
    assert ">0.1</text>" in svg


def test_both_axes_give_training_and_test_images_the_same_colours() -> None:
    svg = _svg(STEEP)
    assert [points for points in _lines(svg, VERMILION) if points > 3] == [20, 20]
    assert [points for points in _lines(svg, BLUE) if points > 3] == [20, 20]


def test_losses_that_were_printed_within_epochs_are_drawn() -> None:
    running = tuple((step / 6, 2.3 - step / 10) for step in range(1, 7))
    svg = _svg((Epoch(2.0, 0.3, 0.4, 1.8, running), Epoch(1.4, 0.5, 0.5, 1.3, running)))
    assert max(_lines(svg, VERMILION)) == 12


@pytest.mark.parametrize("history", [(Epoch(1.0, 0.5, 0.5),), (Epoch(1.0, 0.5, 0.5), Epoch(0.5, 0.6, 0.6, 0.7))])
def test_checkpoints_without_test_losses_are_drawn_without_them(history: tuple[Epoch, ...]) -> None:
    svg = _svg(history)
    assert len([points for points in _lines(svg, BLUE) if points == len(history)]) >= 1
    assert "test images" in svg


def test_an_epoch_survives_json() -> None:
    epoch = Epoch(1.0, 0.5, 0.5, 0.9, ((0.5, 1.2), (1.0, 0.8)))
    fields = {"loss": 1.0, "train_accuracy": 0.5, "test_accuracy": 0.5, "test_loss": 0.9}
    assert Epoch.from_fields({**fields, "running": [[0.5, 1.2], [1.0, 0.8]]}) == epoch
