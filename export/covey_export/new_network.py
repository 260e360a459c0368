"""`covey new`: a copy of one of Covey's networks as a file to change, and what to do with it."""

from __future__ import annotations

import importlib.util
import inspect
import keyword
import textwrap
from pathlib import Path

from torch import nn

from covey_export import naming
from covey_export.datasets.sample import Sample
from covey_export.errors import ExportError, InvalidDataset
from covey_export.networks import NETWORKS, Network, Output, Task, size
from covey_export.training.recipes import recipes_of
from covey_proto import atomic_files

_SOFTMAX = "            nn.Softmax(dim=1),\n"
_STEPS = """# {name}

`{name}.py` begins as Covey's `{source}`. Look at it, change it, and compare:

```sh
covey show {name}:{cls} --dataset {dataset} --output show.html
covey try {source} --dataset {dataset} --vary network={source},{name}:{cls}{few} --seeds 3
```

{data}

`try` trains both by the recipe of `{source}`, with the same images and seeds, so that what differs is your change. It
judges them by images kept from training, and `trials.html` says whether the lead may be chance.{few_said}

Once you have chosen, train the choice on all training images, and publish it for `covey serve`:

```sh
covey export all {name}:{cls} --dataset {dataset} --recipe {source}-{recipe}
```

Things to try, one at a time, as far as the network has such layers:

- another kernel: `kernel_size=3, padding=1` keeps height and width; look at the next layer's input in `show`;
- another layer: a convolution with as many channels out as in, and its activation, behind the first;
- dropout: `nn.Dropout(0.5)` before the last `nn.Linear`; if it is `nn.Dropout(dropout)`, and `__init__` takes
  `dropout: float = 0.5`, this compares shares:
  `covey try {name}:{cls} --dataset {dataset} --recipe {source}-{recipe} --vary dropout=0,0.5{few} --seeds 3`;
- batch normalisation: `nn.BatchNorm2d(channels)` behind each convolution.
"""
_FEW_EPOCHS = 3
_FEW_SAID = f" {_FEW_EPOCHS} epochs give a\nfirst idea; leave out `--epochs` for the whole recipe."


def write(name: str, source: str, folder: Path) -> tuple[Path, Path]:
    """Writes NAME.py, a copy of the network `source`, and NAME.md into the folder; returns both.

    Raises ExportError where one of them is there already, or where the copy could not be imported by its name.
    """
    if not name.isidentifier() or keyword.iskeyword(name) or name != name.lower():
        raise ExportError(f"{name!r} is no name for a Python module; expected small letters, digits and _, as in mynet")
    if source not in NETWORKS:
        raise naming.unknown("network to begin from", source, NETWORKS)
    network = NETWORKS[source]
    recipe = next(iter(recipes_of(source).values()))
    if not recipe.epochs:
        raise ExportError(f"{source} has nothing to learn; begin from another network")
    paths = (folder / f"{name}.py", folder / f"{name}.md")
    for path in paths:
        if path.exists():
            raise ExportError(f"{path} is there already; choose another name, or move it away")
    class_name = "".join(part.capitalize() for part in name.split("_"))
    source_text = _module(network, class_name)
    if not class_name.isidentifier() or keyword.iskeyword(class_name) or source_text.count(f"class {class_name}(") > 1:
        raise ExportError(f"the class of {name!r} would be named {class_name!r}, which cannot be; choose another name")
    if importlib.util.find_spec(name) is not None:
        raise ExportError(f"{name!r} is the name of a module that is installed here; choose another, as in mynet")
    atomic_files.write_text(paths[0], source_text)
    dataset, data = _first_dataset(network)
    data = textwrap.fill(data, 120, break_long_words=False, break_on_hyphens=False)
    is_long = recipe.epochs > _FEW_EPOCHS or dataset == Sample.name  # of which there are more epochs
    steps = _STEPS.format(
        name=name,
        cls=class_name,
        source=source,
        dataset=dataset,
        data=data,
        few=f" --epochs {_FEW_EPOCHS}" if is_long else "",
        few_said=_FEW_SAID if is_long else "",
        recipe=recipe.name,
    )
    atomic_files.write_text(paths[1], steps)
    return paths


def _first_dataset(network: Network) -> tuple[str, str]:
    """The data set to begin with, which comes with Covey if the network can take it, and what is to be known of it."""
    usual = network.default_dataset
    try:
        network.fitted_to(Sample.name, Sample.image_shape)
    except InvalidDataset:
        return usual, (
            f"It takes images of {size(network.image_shape)}: those of `{usual}` (`covey export list` says where they "
            f"are found), or yours by `--dataset folder:PATH`, a folder for each class. `show` needs none: in place of "
            f"`--dataset {usual}` say `--image-size {network.image_shape[0]}`."
        )
    return Sample.name, (
        f"`{Sample.name}` comes with Covey: 7,000 digits. For a figure that you want to keep name `{usual}` in its "
        f"place, or your own images by `folder:PATH`, a folder for each class."
    )


def _module(network: Network, class_name: str) -> str:
    """The source of the network's own module, its class renamed, and without a softmax at its end: Covey adds one."""
    module = network.build(Task(network.image_shape, network.classes))
    file = inspect.getsourcefile(type(module))
    if file is None or not isinstance(module, nn.Module):
        raise ExportError(f"the source of {network.name} is not installed; expected a file beside its module")
    text = Path(file).read_text(encoding="utf-8").replace(f"class {type(module).__name__}(", f"class {class_name}(")
    if network.output is Output.PROBABILITIES:
        text = text.replace(_SOFTMAX, "").replace("probabilities", "logits")
    return text
