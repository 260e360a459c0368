"""What is said to people while training, converting and verifying: a terminal gets colours and a progress bar, a file
or pipe plain lines.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text
from torch import nn

from covey_export.checkpoint import Epoch
from covey_export.datasets import Dataset
from covey_export.evaluation import Accuracy
from covey_export.heartbeat import EVERY_S, Heartbeat
from covey_export.networks import Network
from covey_export.training.augmentation import NONE
from covey_export.training.recipe import Recipe
from covey_export.verification_record import Verification
from covey_proto.wording import plural

_MAX_LABELS_SHOWN = 12
_PLAIN_WIDTH = 10_000  # characters: where there is no terminal no cell of a table is folded


class Advance(Protocol):
    """What a loop tells of each step."""

    def advance(self, loss: float) -> None: ...


class ProgressReport:
    """What every step of the export writes to. All of it goes to rich as `Text`: a plain str with `:train:` or `[red]`
    in it, as labels and paths may have, would become an emoji or a colour."""

    def __init__(self, console: Console | None = None, every_s: float = EVERY_S) -> None:
        console = console or Console()
        if not console.is_terminal:
            console.width = _PLAIN_WIDTH
        self._console = console
        self._heartbeat = Heartbeat(self.line, every_s)
        self._is_brief = False

    @classmethod
    def silent(cls) -> ProgressReport:
        """For processes of a group that leave the talking to the first."""
        return cls(Console(quiet=True))

    def line(self, text: str = "") -> None:
        """One line as it is, never folded."""
        self._heartbeat.said()
        self._console.print(Text(text), soft_wrap=True)

    def alive(self) -> AbstractContextManager[None]:
        """While entered, a line is written every ten seconds where there is no terminal."""
        return nullcontext() if self._console.is_terminal else self._heartbeat.beating()

    @contextmanager
    def brief(self) -> Iterator[None]:
        """While entered, a training says of itself its recipe alone: it is one of many."""
        self._is_brief = True
        try:
            yield
        finally:
            self._is_brief = False

    def doing(self, what: str) -> AbstractContextManager[None]:
        """What is done while entered and may take long, such as "reading mnist"."""
        return self._heartbeat.doing(what)

    def training_begins(
        self, network: Network, dataset: Dataset, recipe: Recipe, module: nn.Module, device: str, precision: str
    ) -> None:
        if self._is_brief:
            self.line(f"recipe  {recipe.describe()}")
            return
        parameters = sum(parameter.numel() for parameter in module.parameters())
        self.line(f"{network.name}: {plural(parameters, 'parameter')} ({network.source})")
        self.line(str(module))
        self.line(
            f"data    {dataset.name}: {len(dataset.train_images):,} training and "
            f"{plural(len(dataset.test_images), 'test image')}, {plural(len(dataset.labels), 'class', 'classes')} "
            f"(licence: {dataset.licence})"
        )
        self.line(f"input   {describe_input(network, recipe)}")
        self.line(f"labels  {describe_labels(dataset.labels)}")
        self.line(f"recipe  {recipe.name}: {recipe.describe()}")
        if recipe.is_adapted_to(len(dataset.train_images)):
            self.line(
                f"        made for {recipe.train_images:,} images: of these {len(dataset.train_images):,} batches are "
                f"smaller and epochs more, so that there are as many steps, unless options say otherwise"
            )
        self.line(f"augment {(recipe.augmentation or NONE).describe()}")
        self.line(f"device  {device}, {precision}")
        self.line(f"begins  {_now()}")

    def already_trained(self, position: str, folder: Path) -> None:
        again = "" if self._is_brief else "; --restart trains anew"
        self.line(f"already trained ({position}, checkpoint in {folder}){again}")

    @contextmanager
    def progress(self, total: int, done: int) -> Iterator[Advance]:
        """A bar of `total` steps, `done` of them behind us; elsewhere than on a terminal a line now and then."""
        columns = (
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("loss {task.fields[loss]:.3f}"),
            TimeRemainingColumn(),
        )
        with Progress(
            *columns, console=self._console, transient=True, disable=not self._console.is_terminal
        ) as progress:
            bar = _Bar(progress, progress.add_task("", total=total, completed=done, loss=float("nan")), total, done)
            with self._heartbeat.doing(bar.line):
                yield bar

    def running_loss(self, epoch: int, step: int, loss: float) -> None:
        self.line(f"[{epoch}, {step:5d}] loss: {loss:.3f}")

    def epoch_ends(self, epoch: int, epochs: int, result: Epoch, held_out: str) -> None:
        self.line(
            f"epoch {epoch}/{epochs}  loss {result.loss:.4f}  train accuracy {result.train_accuracy:.2%}"
            + ("" if result.test_accuracy is None else f"  {held_out} accuracy {result.test_accuracy:.2%}")
        )

    def stop_requested(self) -> None:
        self.line("Ctrl-C: finishing this step and saving the checkpoint; once more stops at once")

    def training_ends(self, seconds: float) -> None:
        self.line(f"ends    {_now()}, after {seconds:.1f} s of training")

    def accuracy(self, labels: Sequence[str], found: Accuracy) -> None:
        """Overall and per class."""
        self.line(f"accuracy on the {plural(found.images, 'test image')}: {found.overall:.2%}")
        for label, share in zip(labels, found.per_class, strict=True):
            self.line(f"  {label:<12} {'no test images' if share is None else f'{share:7.2%}'}")

    def verification(self, found: Verification) -> None:
        for line in found.lines():
            self.line(line)

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        table = Table(title=Text(title), title_justify="left", show_lines=False)
        for name in header:
            table.add_column(Text(name), overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))
        self._console.print(table)


def describe_input(network: Network, recipe: Recipe) -> str:
    """What becomes of an image before the network sees it: size, resize, channel order, mean and deviation."""
    height, width, channels = network.image_shape
    crop = f", crop {network.crop:g}" if network.crop != 1 else ""
    return f"{height}x{width}, resized by {network.resize.value}{crop}; {describe_normalisation(channels, recipe)}"


def describe_normalisation(channels: int, recipe: Recipe) -> str:
    """The order of the channels, mean and deviation."""
    mean, std = (", ".join(f"{number:g}" for number in numbers or ()) for numbers in (recipe.mean, recipe.std))
    return f"{'grey' if channels == 1 else 'RGB'}, scaled to 0..1, mean {mean}, deviation {std}"


def describe_labels(labels: Sequence[str]) -> str:
    """The classes in the order of the outputs, the first few of many."""
    shown = ", ".join(f"{place} {label}" for place, label in enumerate(labels[:_MAX_LABELS_SHOWN]))
    more = len(labels) - _MAX_LABELS_SHOWN
    return f"{shown} and {more:,} more" if more > 0 else shown


class _Bar:
    def __init__(self, progress: Progress, task: TaskID, total: int, done: int) -> None:
        self._progress = progress
        self._task = task
        self._total = total
        self._done_before = self._done = done
        self._loss = float("nan")
        self._began_s = time.monotonic()

    def line(self) -> str:
        """How far it is."""
        per_second = (self._done - self._done_before) / (time.monotonic() - self._began_s)
        left = f", about {(self._total - self._done) / per_second:,.0f} s left" if per_second else ""
        return f"step {self._done:,} of {self._total:,}, loss {self._loss:.3f}, {per_second:.3g} steps/s{left}"

    def advance(self, loss: float) -> None:
        self._done += 1
        self._loss = loss
        self._progress.update(self._task, advance=1, loss=loss)


def _now() -> str:
    return datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
