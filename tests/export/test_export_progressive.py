"""Images grow during a training as the recipe says, and trainings that cannot do that are told."""

from __future__ import annotations

import dataclasses

import torch
from tests.export.recorded_report import CPU
from tests.export.trainings import RECIPE
from torch import nn

from covey_export.networks import NETWORKS, Network
from covey_export.training import progressive
from covey_export.training.capabilities import fit_to_network


def test_sides_grow_in_steps_of_four_pixels_up_to_the_whole() -> None:
    sides = [progressive.side(32, 0.75, done / 100) for done in range(101)]
    assert sides == sorted(sides)
    assert set(sides) == {24, 28, 32}
    assert sides.index(28) == 21  # 0.75 + 0.25 * 0.2 / 0.8 of 32 are 26 pixels, halfway to 28: round() takes even 24
    assert set(sides[80:]) == {32}
    assert {progressive.side(30, 0.5, done / 10) for done in range(8, 11)} == {30}
    assert {progressive.side(18, 0.1, done / 10) for done in range(9)} == {16, 18}, "16 pixels or more"
    assert progressive.side(9, 0.1, 0.0) == 9


def test_a_share_of_one_leaves_images_as_they_are() -> None:
    images = torch.rand(2, 3, 10, 12)
    assert progressive.shrink(images, 1.0, 0.0) is images
    assert progressive.shrink(images, 0.5, 0.9) is images


def test_small_images_show_the_same() -> None:
    images = torch.zeros(1, 1, 64, 32)
    images[..., :16] = 1.0
    small = progressive.shrink(images.to(memory_format=torch.channels_last), 0.5, 0.0)
    assert small.shape == (1, 1, 32, 16)
    assert small[..., :7].min() == 1
    assert small[..., 9:].max() == 0
    assert abs(float(small.mean()) - 0.5) < 1e-6


def test_own_networks_of_one_size_are_trained_with_it_and_that_is_said() -> None:
    recipe = dataclasses.replace(RECIPE, first_size=0.5)
    fixed = Network("mine:fixed", lambda _: nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), (28, 28, 1), "mnist", "me")
    found, notes = fit_to_network(fixed, 10, recipe, CPU)
    assert found.first_size == 1.0
    assert "trained with images of one size: with smaller ones it raised RuntimeError" in notes[0]
    assert fit_to_network(NETWORKS["nin"], 10, recipe, CPU) == (recipe, [])
