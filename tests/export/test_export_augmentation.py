"""Augmentation changes images as it says and no further, and the same way whenever the same step is made again."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.export.recorded_report import CPU, RecordedReport
from tests.export.trainings import RECIPE, train_mlp

from covey_export.datasets import CATALOGUE, Dataset, Entry, Family
from covey_export.errors import ExportError
from covey_export.training.augmentation import NONE, Augmentation, augment
from covey_export.training.batches import Batches
from covey_export.training.distributed import ALONE
from covey_export.training.recipes import find_recipe

# So little that it rounds away, but it goes through the resampling.
BARELY = 1e-6
EACH = {
    "flip": Augmentation(flip=True),
    "shift": Augmentation(shift=0.2),
    "cutout": Augmentation(cutout=0.5),
    "erase": Augmentation(erase=1),
    "rotation": Augmentation(rotation=20),
    "zoom": Augmentation(zoom=0.3),
    "all": Augmentation(flip=True, shift=0.2, cutout=0.5, erase=0.5, rotation=20, zoom=0.3),
}


def _images(count: int, height: int, width: int, channels: int) -> NDArray[np.uint8]:
    """Noise without 127, the grey of a cutout."""
    drawn = np.random.default_rng(0).integers(0, 127, (count, height, width, channels), dtype=np.uint8)
    drawn[..., ::2, :] += 128
    return drawn


def _augment(
    images: NDArray[np.uint8], how: Augmentation, *, flipped: bool = False, seed: int = 0
) -> NDArray[np.uint8]:
    generator = torch.Generator().manual_seed(seed)
    turns = torch.full((len(images),), flipped)
    changed: NDArray[np.uint8] = augment(torch.tensor(images), turns, how, generator).numpy()
    return changed


@pytest.mark.parametrize("how", EACH.values(), ids=EACH)
@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (9, 14, 3)])
def test_images_stay_images_of_their_shape(how: Augmentation, shape: tuple[int, int, int]) -> None:
    images = _images(50, *shape)
    changed = _augment(images, how, flipped=True)
    assert changed.shape == images.shape
    assert changed.dtype == np.uint8
    assert (changed != images).any(axis=(1, 2, 3)).sum() > 40
    assert np.array_equal(images, _images(50, *shape)), "the data set itself was changed"


def test_none_changes_nothing() -> None:
    images = _images(20, 28, 28, 1)
    assert np.array_equal(_augment(images, NONE, flipped=True), images)
    assert NONE.describe() == "none"


@pytest.mark.parametrize("how", [Augmentation(flip=True), Augmentation(flip=True, rotation=BARELY)])
def test_a_flip_is_exact_and_for_those_whose_turn_it_is(how: Augmentation) -> None:
    images = _images(6, 9, 14, 3)
    turns = torch.tensor([True, False, True, True, False, False])
    changed = augment(torch.tensor(images), turns, how, torch.Generator()).numpy()
    for image, after, is_flipped in zip(images, changed, turns.tolist(), strict=True):
        assert np.array_equal(after, image[:, ::-1] if is_flipped else image)


def test_a_shift_moves_by_whole_pixels_and_repeats_the_edge() -> None:
    images = _images(300, 10, 6, 3)  # a share of 0.2: two rows, one column
    changed = _augment(images, Augmentation(shift=0.2))
    seen = set()
    for image, after in zip(images, changed, strict=True):
        padded = np.pad(image, ((2, 2), (1, 1), (0, 0)), mode="edge")
        moves = [
            (down, right)
            for down in range(5)
            for right in range(3)
            if np.array_equal(after, padded[down : down + 10, right : right + 6])
        ]
        assert len(moves) == 1
        seen.update(moves)
    assert len(seen) == 15, "some moves never happen"


def test_a_shift_with_resampling_goes_as_far() -> None:
    dots = np.zeros((300, 20, 20, 1), np.uint8)
    dots[:, 9:11, 9:11] = 200
    changed = _augment(dots, Augmentation(shift=0.1, rotation=BARELY))[..., 0].astype(float)
    for axis in (1, 2):
        weights = changed.sum(axis=3 - axis)
        moved = weights @ np.arange(20) / weights.sum(axis=1) - 9.5
        assert 1.8 < moved.max() < 2.1
        assert -2.1 < moved.min() < -1.8


def test_cutout_is_one_grey_square_of_which_a_part_may_lie_outside() -> None:
    images = _images(300, 12, 12, 3)
    changed = _augment(images, Augmentation(cutout=0.25))
    sizes = []
    for image, after in zip(images, changed, strict=True):
        grey = (after == 127).all(axis=2)
        rows, columns = np.flatnonzero(grey.any(axis=1)), np.flatnonzero(grey.any(axis=0))
        assert np.array_equal(grey, np.isin(np.arange(12), rows)[:, None] & np.isin(np.arange(12), columns))
        assert np.array_equal(after[~grey], image[~grey])
        sizes.append(len(rows) * len(columns))
        assert 1 <= len(rows) <= 3
        assert 1 <= len(columns) <= 3
    assert max(sizes) == 9
    assert min(sizes) < 9


def test_erasing_makes_noise_of_one_rectangle_in_a_share_of_the_images() -> None:
    images = np.full((400, 20, 16, 3), 90, np.uint8)
    changed = _augment(images, Augmentation(erase=0.4))
    shares, ratios = [], []
    for after in changed:
        noise = (after != 90).any(axis=2)  # three values of noise are hardly ever 90 all at once
        if not noise.any():
            continue
        rows, columns = np.flatnonzero(noise.any(axis=1)), np.flatnonzero(noise.any(axis=0))
        height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
        assert noise.sum() == height * width, "the rectangle is whole"
        shares.append(height * width / 320)
        ratios.append(height / width)
    assert 0.33 < len(shares) / 400 < 0.47
    assert min(shares) < 0.06
    assert 0.28 < max(shares) < 0.37
    assert min(ratios) < 0.6
    assert max(ratios) > 1.7
    values = changed[changed != 90]
    assert 120 < values.mean() < 135
    assert (values.min(), values.max()) == (0, 255)


@pytest.mark.parametrize("how", [Augmentation(rotation=BARELY), Augmentation(zoom=BARELY)])
def test_no_turn_and_no_zoom_leave_every_pixel(how: Augmentation) -> None:
    images = _images(20, 9, 14, 3)
    assert np.array_equal(_augment(images, how), images)


@pytest.mark.parametrize("width", [32, 64])
def test_a_turn_keeps_a_disc_a_disc_in_wide_images_too(width: int) -> None:
    rows, columns = np.mgrid[:32, :width]
    disc = ((rows - 15.5) ** 2 + (columns - width / 2 + 0.5) ** 2 < 100).astype(np.uint8) * 200
    changed = _augment(np.repeat(disc[None, ..., None], 50, 0), Augmentation(rotation=90))[..., 0]
    assert np.abs(changed.astype(int) - disc).mean() < 0.2 * disc.mean()


def test_a_turn_goes_both_ways_and_no_further_than_it_may() -> None:
    """A bar from the middle to the right: where its end comes to lie is the angle."""
    bar = np.zeros((200, 41, 41, 1), np.uint8)
    bar[:, 19:22, 36:39] = 200
    changed = _augment(bar, Augmentation(rotation=30))[..., 0].astype(float)
    places = np.arange(41) - 20
    down = changed.sum(axis=2) @ places
    right = changed.sum(axis=1) @ places
    angles = np.degrees(np.arctan2(down, right))
    assert 28 < angles.max() < 30.5
    assert -30.5 < angles.min() < -28


def test_zoom_makes_larger_and_smaller_by_the_share() -> None:
    square = np.zeros((200, 40, 40, 1), np.uint8)
    square[:, 10:30, 10:30] = 200
    changed = _augment(square, Augmentation(zoom=0.2)).astype(float)
    sides = np.sqrt(changed.sum(axis=(1, 2, 3)) / 200)
    assert 20 / 1.2 - 0.3 < sides.min() < 17.2
    assert 24 < sides.max() < 20 / 0.8 + 0.3


class TestInTraining:
    """What the loop makes of it."""

    def _batches(self, dataset: Dataset, how: Augmentation, seed: int = 0) -> Batches:
        return Batches(dataset, dataclasses.replace(RECIPE, augmentation=how), seed, CPU, ALONE)

    def test_each_image_is_seen_both_ways_in_two_epochs_in_turn(self, small: Dataset) -> None:
        batches = self._batches(small, Augmentation(flip=True))
        everything = torch.arange(len(small.train_images))
        seen = [batches.draw(everything, epoch, 0).numpy() for epoch in range(3)]
        assert np.array_equal(seen[0], seen[2])
        assert np.array_equal(seen[0], seen[1][:, :, ::-1])
        as_they_are = (seen[0] == small.train_images).all(axis=(1, 2, 3)).mean()
        assert 0.4 < as_they_are < 0.6

    def test_the_seed_and_the_place_decide(self, small: Dataset) -> None:
        batch = torch.arange(16)
        one, same, other = (self._batches(small, EACH["all"], seed) for seed in (0, 0, 1))
        first = one.draw(batch, 0, 5)
        torch.manual_seed(99)
        one.draw(batch, 0, 6)
        assert torch.equal(first, same.draw(batch, 0, 5))
        assert torch.equal(first, one.draw(batch, 0, 5))
        assert not torch.equal(first, one.draw(batch, 0, 6))
        assert not torch.equal(first, other.draw(batch, 0, 5))


class TestWords:
    def test_a_list_is_read(self) -> None:
        assert Augmentation.parse("none") == NONE
        assert Augmentation.parse("flip, shift=0.1,rotation=5") == Augmentation(flip=True, shift=0.1, rotation=5)
        usual = Augmentation.parse("flip,shift,cutout,erase,rotation,zoom")
        assert all((usual.flip, usual.shift, usual.cutout, usual.erase, usual.rotation, usual.zoom))

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("shfit", "no augmentation is named 'shfit'. Did you mean shift"),  # codespell:ignore
            ("", "no augmentation is named ''"),
            ("shift=much", "augmentation shift: expected a number from 0 to .*, got 'much'"),
            ("shift=nan", "augmentation shift: expected a number from 0 to .*, got 'nan'"),
            ("cutout=-0.1", "augmentation cutout: expected a number from 0 to .*, got '-0.1'"),
            ("erase=2", "augmentation erase: expected a number from 0 to 1, got '2'"),
            ("zoom=5", "augmentation zoom: expected a number from 0 to .*, got '5'"),
        ],
    )
    def test_what_is_no_list_is_explained(self, text: str, message: str) -> None:
        with pytest.raises(ExportError, match=message):
            Augmentation.parse(text)


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=list(CATALOGUE))
def test_each_data_set_states_its_family(entry: Entry) -> None:
    assert entry.family is not Family.UNKNOWN


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("network", ["resnet", "cifar-net", "lenet", "torchvision:resnet18"])
def test_only_what_may_be_mirrored_is(network: str, family: Family, small: Dataset) -> None:
    """Whatever the recipe, and whatever the data set is called: a mirrored digit is another sign, or none."""
    dataset = dataclasses.replace(small, name="house-numbers", family=family)
    fitted = find_recipe(network, "best", dataset.name).fitted_to(dataset)
    assert fitted.augmentation is not None
    assert fitted.augmentation.flip == (family in (Family.CLOTHES, Family.PHOTOGRAPHS))


def test_ones_own_images_are_shifted_and_not_mirrored_unless_asked_for(
    small: Dataset, tmp_path: Path, report: RecordedReport
) -> None:
    own = dataclasses.replace(small, name="folder:own", family=Family.UNKNOWN)
    recipe = dataclasses.replace(RECIPE, augmentation=None, epochs=1)
    assert train_mlp(own, tmp_path / "usual", report, recipe).recipe.augmentation == Augmentation(shift=0.125)
    assert "folder:own may hold images that mean something else in the mirror" in report.text
    asked, said = Augmentation(flip=True), RecordedReport()
    assert train_mlp(own, tmp_path / "asked", said, recipe, augmentation=asked).recipe.augmentation == asked
    assert "mirror" not in said.text
