"""How each network is trained: numbers only.

`tutorial` is what the network's own tutorial does. `best` aims at the most accuracy that this very architecture can
give in minutes on two CPU cores: a one-cycle learning rate, random changes of the images, and weights averaged
over the last steps. What is tried is told in docs/training.md.

A recipe is made for the data set of its tutorial; `Recipe.adapted_to` makes it fit much smaller ones, and
OTHER_DATASETS holds the recipes for data sets of the same size that want other numbers.

Where one step is less than a few milliseconds of work, a second thread gains next to nothing and, as soon as
anything else runs on the machine, costs ten times the time in waiting; such recipes ask for one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from covey_export import naming
from covey_export.networks import NETWORKS, torchvision_networks
from covey_export.training.augmentation import Augmentation
from covey_export.training.recipe import Recipe

FINE_TUNE = "fine-tune"

# PyTorch tutorials, "Training a Classifier": two epochs, running loss every 2,000 steps, 53 % on the test set.
_CIFAR_NET = Recipe(
    "tutorial",
    batch_size=4,
    epochs=2,
    optimizer="sgd",
    learning_rate=0.001,
    momentum=0.9,
    mean=(0.5,),
    std=(0.5,),
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

# Normalised with mean and deviation 0.5; the running loss is of 300 batches.
_MNIST_CNN = Recipe(
    "tutorial",
    batch_size=64,
    epochs=3,
    optimizer="sgd",
    learning_rate=0.001,
    momentum=0.9,
    mean=(0.5,),
    std=(0.5,),
    log_steps=300,
    checkpoint_steps=100,
)

# Pixels from 0 to 1, not normalised further, and in the data set's order.
_MNIST_DEEP = Recipe(
    "tutorial",
    batch_size=64,
    epochs=8,
    optimizer="adam",
    learning_rate=0.001,
    shuffle=False,
    log_steps=300,
)

# The common settings of all recipes `best`; the augmentation, mean and deviation are the data set's own.
_BEST = Recipe(
    "best",
    batch_size=256,
    epochs=30,
    optimizer="sgd",
    learning_rate=0.1,
    momentum=0.9,
    nesterov=True,
    weight_decay=5e-4,
    schedule="one-cycle",
    averaging=0.998,
    augmentation=None,
    mean=None,
    std=None,
    precision="auto",
    channels_last=True,
)
_BEST_ADAM = replace(_BEST, optimizer="adamw", momentum=0.0, nesterov=False, learning_rate=0.003, weight_decay=0.05)
# Sigmoids want large steps: with a learning rate of 0.003 and weight decay it reached 99.26 %.
_LENET_BEST = replace(_BEST_ADAM, batch_size=128, epochs=40, learning_rate=0.01, weight_decay=0.0, threads=1)
# For two networks that soon memorise the training images: much dropout, and digits are changed more than usual.
_MNIST_BEST = replace(
    _BEST_ADAM,
    batch_size=128,
    epochs=26,
    learning_rate=0.002,
    augmentation=Augmentation(shift=0.08, rotation=12, zoom=0.15),
)

# For networks that are not Covey's own, and for fine-tuning pretrained weights.
_FINE_TUNE = replace(
    _BEST,
    name=FINE_TUNE,
    batch_size=32,
    epochs=8,
    learning_rate=0.005,
    weight_decay=1e-4,
    label_smoothing=0.1,
    averaging=0.99,
    train_images=1_000,
)
_ANY = {"best": replace(_BEST, batch_size=64, learning_rate=0.03, label_smoothing=0.1), FINE_TUNE: _FINE_TUNE}
TUTORIAL = "tutorial"
_TAUGHT_ON_DIGITS = ("sample", "mnist", "fashion-mnist")

_RESNET = replace(
    _BEST,
    epochs=18,
    learning_rate=0.25,
    weight_decay=1e-3,
    bias_rate=64.0,
    label_smoothing=0.2,
    averaging=0.995,
    augmentation=Augmentation(flip=True, shift=0.0625, cutout=0.25),
    train_images=50_000,
)

# As airbench96 is trained: wider than `resnet`, therefore in smaller steps, and for longer, therefore with stronger
# changes. It begins with small images, which save time on a CPU.
_RESNET9 = replace(
    _RESNET,
    epochs=30,
    learning_rate=0.2,
    augmentation=Augmentation(flip=True, shift=0.125, cutout=0.375),
    first_size=0.75,
)

# The paper's batch size, rate and weight decay. A few epochs allow less erasing than the 300 that it was made for.
_WIDE_RESNET = replace(
    _BEST,
    batch_size=128,
    epochs=18,
    augmentation=Augmentation(flip=True, shift=0.07, erase=0.25),
)

# The paper's rate and weight decay; its batch of 64 would cost a CPU more time for as many images.
_DENSENET = replace(
    _BEST,
    batch_size=128,
    epochs=40,
    weight_decay=1e-4,
    augmentation=Augmentation(flip=True, shift=0.07, erase=0.5),
)

# The changes are those of An et al., who train for 150 epochs.
_MNIST_COMPACT = replace(
    _BEST_ADAM, batch_size=128, epochs=30, averaging=0.999, augmentation=Augmentation(shift=0.2, rotation=20)
)

# Small, so that it overfits little: weak weight decay, as the paper has it (depthwise kernels have few weights).
_MOBILENET = replace(
    _BEST,
    batch_size=128,
    epochs=40,
    weight_decay=1e-4,
    label_smoothing=0.1,
    augmentation=Augmentation(flip=True, shift=0.125),
    train_images=50_000,
)

RECIPES: Mapping[str, Mapping[str, Recipe]] = {
    "cifar-net": {
        "tutorial": _CIFAR_NET,
        # So few weights need no strong changes: with shifts of 12 % and AdamW it reached 73.7 %.
        "best": replace(
            _BEST,
            batch_size=128,
            epochs=80,
            learning_rate=0.05,
            augmentation=Augmentation(flip=True, shift=0.0625),
            threads=1,
            train_images=50_000,
        ),
    },
    "lenet": {"tutorial": _LENET, "best": _LENET_BEST},
    "mlp": {"tutorial": _MLP, "best": replace(_BEST_ADAM, batch_size=128, epochs=30, weight_decay=0.01, threads=1)},
    "mnist-cnn": {"tutorial": _MNIST_CNN, "best": replace(_MNIST_BEST, dropout=0.5)},
    "mnist-deep": {"tutorial": _MNIST_DEEP, "best": replace(_MNIST_BEST, dropout=0.4)},
    "mnist-compact": {"best": _MNIST_COMPACT},
    "alexnet": {"best": replace(_BEST, epochs=16)},
    "vgg": {"best": replace(_BEST, epochs=15)},
    "nin": {"best": replace(_BEST, epochs=16, dropout=0.1)},
    "googlenet": {"best": replace(_BEST, epochs=16)},
    "resnet": {"best": _RESNET},
    "resnet9": {"best": _RESNET9},
    "wide-resnet": {"best": _WIDE_RESNET},
    "densenet": {"best": _DENSENET},
    "mobilenet": {"best": _MOBILENET},
    "conv-demo": {"tutorial": replace(_MLP, epochs=0, mean=(0.0,), std=(1 / 255,), train_images=100)},
}

# Recipes for data sets other than the one that the network's own recipe was made for.
OTHER_DATASETS: Mapping[tuple[str, str], Mapping[str, Recipe]] = {
    # So small a network learns clothes more slowly than digits, and has no capacity left for mirrored ones.
    ("lenet", "fashion-mnist"): {"best": replace(_LENET_BEST, epochs=70, augmentation=Augmentation(shift=0.04))},
}


def recipes_of(network: str, dataset: str | None = None) -> Mapping[str, Recipe]:
    """The network's own recipes by name, its usual one first; with `dataset`, those for that data set."""
    if network.startswith(torchvision_networks.PREFIX):
        return _ANY
    if network not in NETWORKS:  # `tutorial` is what is usual for such images
        return {**_ANY, TUTORIAL: _MNIST_CNN if dataset in _TAUGHT_ON_DIGITS else _CIFAR_NET}
    of_dataset = OTHER_DATASETS.get((network, dataset), {}) if dataset else {}
    recipes = {**RECIPES[network], **of_dataset}
    return {**recipes, FINE_TUNE: _FINE_TUNE} if any(recipe.epochs for recipe in recipes.values()) else recipes


def recipes_by_full_name(network: str, dataset: str | None = None) -> Mapping[str, Recipe]:
    """The recipes of all of Covey's networks by full name, NETWORK-RECIPE: any network can be trained by them. None if
    the network itself has nothing to learn."""
    if not find_recipe(network).epochs:
        return {}
    return {
        f"{owner}-{name}": recipe if owner == network else replace(recipe, name=f"{owner}-{name}")
        for owner, recipes in RECIPES.items()
        for name, recipe in {**recipes, **OTHER_DATASETS.get((owner, dataset or ""), {})}.items()
        if recipe.epochs
    }


def find_recipe(network: str, name: str | None = None, dataset: str | None = None) -> Recipe:
    """The network's recipe of that name, or another network's as NETWORK-RECIPE; by default its own first. With
    `dataset`, the one for it. Raises UnknownName."""
    recipes = recipes_of(network, dataset)
    if name is None:
        return next(iter(recipes.values()))
    if name in recipes:
        return recipes[name]
    lent = recipes_by_full_name(network, dataset)
    if name in lent:
        return lent[name]
    others = ", or NETWORK-RECIPE, as in lenet-best, for that of another network" if lent else ""
    raise naming.unknown(f"recipe of {network}", name, recipes, lent, others)
