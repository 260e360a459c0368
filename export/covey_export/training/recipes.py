"""How each network is trained: batch size, optimizer, epochs, normalisation. Numbers only; training.py uses them.

A recipe is made for the data set of its tutorial. On a much smaller set the same number of epochs is far too
few steps (LeNet's sigmoids need about a thousand before they learn at all), so `adapted_to` keeps the number of
steps instead.

Where one step is less than a few milliseconds of work, a second thread gains next to nothing and, as soon as
anything else runs on the machine, costs ten times the time in waiting; such recipes ask for one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from covey_export import naming

_SMALLEST_BATCH = 16  # a batch is never made smaller than this for want of data
_MOST_EPOCHS = 200


@dataclass(frozen=True)
class Recipe:
    """One way to train one network. `mean` and `std` are of pixels scaled to 0..1."""

    name: str
    batch_size: int
    epochs: int
    optimizer: Literal["sgd", "adam"]
    learning_rate: float
    momentum: float = 0.0
    mean: float = 0.0
    std: float = 1.0
    log_steps: int | None = None  # the running loss is said every so many steps; None: once an epoch
    checkpoint_steps: int | None = None  # None: once an epoch
    threads: int | None = None  # of PyTorch on the CPU; None: its default, one a core
    train_images: int = 60_000  # of the data set the recipe was made for
    reported: tuple[str, float] | None = None  # data set and test accuracy that the tutorial reports

    def adapted_to(self, train_images: int) -> Recipe:
        """The recipe for a set of that many images: unchanged from half the original size up. Below that,
        batches up to eight times smaller and more epochs, so that there are no fewer steps (at most twice as
        many) of far fewer images.
        """
        shortage = self.train_images / train_images
        if shortage < 2:
            return self
        divisor = max(1, min(8, int(shortage), self.batch_size // _SMALLEST_BATCH))
        epochs = round(self.epochs * shortage / min(4, divisor))
        return dataclasses.replace(
            self, batch_size=self.batch_size // divisor, epochs=max(self.epochs, min(_MOST_EPOCHS, epochs))
        )

    def describe(self) -> str:
        """One line for people."""
        momentum = f" momentum {self.momentum:g}" if self.momentum else ""
        return f"batch {self.batch_size}, {self.optimizer} lr {self.learning_rate:g}{momentum}, {self.epochs} epochs"


# PyTorch tutorials, "Training a Classifier": two epochs, running loss every 2,000 steps, 53 % on the test set.
_CIFAR_NET = Recipe(
    "tutorial",
    batch_size=4,
    epochs=2,
    optimizer="sgd",
    learning_rate=0.001,
    momentum=0.9,
    mean=0.5,
    std=0.5,
    log_steps=2000,
    threads=1,
    train_images=50_000,
    reported=("cifar10", 0.53),
)

# Dive into Deep Learning, PyTorch edition: batch 256, Adam lr 0.001. That edition stops after 5 epochs, while
# the loss still falls; 10, as in the book's other edition, bring MNIST from 97 % to 98 %. The other edition's
# optimizer (SGD lr 0.9, Xavier) stalls at chance for the first epochs on MNIST, and for good on a small set.
_LENET = Recipe("tutorial", batch_size=256, epochs=10, optimizer="adam", learning_rate=0.001, threads=1)

# Dive into Deep Learning, "Concise Implementation of Multilayer Perceptrons".
_MLP = Recipe("tutorial", batch_size=256, epochs=10, optimizer="sgd", learning_rate=0.1, threads=1)

# Neither MNIST tutorial's normalisation is part of its recipe; these are the mean and deviation of MNIST's pixels.
_MNIST_CNN = Recipe(
    "tutorial",
    batch_size=64,
    epochs=3,
    optimizer="sgd",
    learning_rate=0.001,
    momentum=0.9,
    mean=0.1307,
    std=0.3081,
    log_steps=300,
    checkpoint_steps=100,
)

_MNIST_DEEP = Recipe(
    "tutorial",
    batch_size=64,
    epochs=8,
    optimizer="adam",
    learning_rate=0.001,
    mean=0.1307,
    std=0.3081,
    log_steps=300,
)

RECIPES: Mapping[str, Mapping[str, Recipe]] = {
    "cifar-net": {"tutorial": _CIFAR_NET},
    "lenet": {"tutorial": _LENET},
    "mlp": {"tutorial": _MLP},
    "mnist-cnn": {"tutorial": _MNIST_CNN},
    "mnist-deep": {"tutorial": _MNIST_DEEP},
}


def find_recipe(network: str, name: str) -> Recipe:
    """The network's recipe of that name. Raises UnknownName."""
    recipes = RECIPES[network]
    if name not in recipes:
        raise naming.unknown(f"recipe of {network}", name, recipes)
    return recipes[name]
