"""What is measured after each epoch of a training, beside its loss. None of it changes the weights."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Watch:
    """What to measure. `test_once`: the test images are classified after the last epoch alone, so that nobody can
    choose an epoch by them. `train_images`: so many training images are classified without dropout and augmentation
    after each epoch."""

    test_once: bool = False
    train_images: int = 0


USUAL = Watch()
