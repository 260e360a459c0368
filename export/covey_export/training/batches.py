"""Which training images each step takes, and how they are changed at random. The images are on the device.

All that is random is drawn anew at every step, from the seed and the step's own place, so that a training that was
stopped goes on with what it would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from covey_export.datasets import Dataset
from covey_export.training.augmentation import NONE, augment
from covey_export.training.distributed import Group
from covey_export.training.recipe import Recipe


class Batches:
    """The steps of every epoch, as indices into `images` `[N, H, W, C] uint8` and `labels` `[N]`."""

    def __init__(self, dataset: Dataset, recipe: Recipe, seed: int, device: torch.device, group: Group) -> None:
        self.images = torch.tensor(dataset.train_images, device=device)
        self.labels = torch.tensor(dataset.train_labels, device=device)
        self._recipe = recipe
        self._seed = seed
        self._group = group
        count = len(self.images)
        # Batch normalisation needs two images; one left over at the end of an epoch waits for the next.
        has_short_batch = count % recipe.batch_size >= min(2 * group.size, recipe.batch_size)
        self.steps = max(1, count // recipe.batch_size + has_short_batch)  # of an epoch
        self._first_flips = torch.tensor(np.random.default_rng((seed, 0, 1)).integers(0, 2, count), dtype=torch.bool)

    @property
    def images_of_epoch(self) -> int:
        """The number of images in an epoch."""
        return min(self.steps * self._recipe.batch_size, len(self.images))

    def remaining(self, epoch: int, step: int) -> Iterator[torch.Tensor]:
        """Indices of the images of each step that the epoch (0 and up) still needs, `step` of them done."""
        order = np.arange(len(self.images))
        if self._recipe.shuffle:
            order = np.random.default_rng((self._seed, epoch)).permutation(order)
        places = torch.tensor(order, device=self.images.device)
        size = self._recipe.batch_size
        for following in range(step, self.steps):
            yield places[following * size : (following + 1) * size]

    def draw(self, batch: torch.Tensor, epoch: int, step: int) -> torch.Tensor:
        """The images at the indices `batch`, changed at random. Seeds torch's generator: all randomness of the step,
        that of dropout too, begins here."""
        step_of_training = self.steps * epoch + step
        generator = torch.Generator()
        state = np.random.SeedSequence((self._seed, step_of_training, self._group.rank)).generate_state(2, np.uint64)
        torch.manual_seed(int(state[0]))
        generator.manual_seed(int(state[1]))
        images = self.images[batch]
        augmentation = self._recipe.augmentation or NONE
        if augmentation == NONE:
            return images
        flipped = self._first_flips[batch.cpu()] ^ bool(epoch % 2)
        return augment(images, flipped, augmentation, generator)
