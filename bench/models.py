"""Owns the models that a benchmark serves: exported once by `covey-export`, in a few epochs on little data, since
weights do not change what a network costs."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import photographs
from bench.processes import BenchError, run_tool

PHOTO_NETWORK = "shufflenet"  # 224x224 RGB
# Arguments of covey-export. LeNet is trained longer: its answers are checked, so they must differ from each other.
_SAMPLE = ("--dataset", "sample", "--epochs", "1")
_EXPORTS: dict[str, tuple[str, ...]] = {
    "lenet": ("lenet", "--dataset", "sample", "--recipe", "best", "--epochs", "3"),
    "mlp": ("mlp", *_SAMPLE),
    "mnist-cnn": ("mnist-cnn", *_SAMPLE),
    "mnist-deep": ("mnist-deep", *_SAMPLE),
    "cifar-net": ("cifar-net", "--epochs", "1"),
    PHOTO_NETWORK: ("torchvision:shufflenet_v2_x0_5", "--epochs", "1", "--name", PHOTO_NETWORK),
}
_ON_PHOTOGRAPHS = {"cifar-net", PHOTO_NETWORK}
FIVE = ("cifar-net", "lenet", "mlp", "mnist-cnn", "mnist-deep")
_CLASSES, _IMAGES_PER_CLASS = 10, 4


def model_parser(command: str, doc: str | None) -> argparse.ArgumentParser:
    """Of a command that measures with one published model, its argument `model`. `doc` is the module's docstring."""
    parser = argparse.ArgumentParser(prog=f"python -m {command}", description=(doc or "").split("\n")[0])
    parser.add_argument("model", type=Path, help="a published file, .../NAME/VERSION/model.onnx")
    return parser


class Models:
    """A models folder. What it lacks is exported where that is allowed."""

    def __init__(self, folder: Path, work: Path | None, report: Callable[[str], None]) -> None:
        """`work` is where exports keep their files; None: nothing is exported."""
        self._folder = folder
        self._work = work
        self._report = report

    def file(self, name: str) -> Path:
        """The file of a model's first version. Raises BenchError where it is not there and cannot be made."""
        path = self._folder / name / "1" / "model.onnx"
        if not path.is_file():
            if self._work is None or name not in _EXPORTS:
                raise BenchError(f"no {name}/1/model.onnx in {self._folder}; without --models it is exported")
            self._export(name, self._work)
        return path

    def copy(self, names: Sequence[str], folder: Path) -> Path:
        """Makes `folder` a models folder of these models alone, and answers it."""
        for name in names:
            target = folder / name / "1"
            target.mkdir(parents=True)
            shutil.copyfile(self.file(name), target / "model.onnx")
        return folder

    def _export(self, name: str, work: Path) -> None:
        self._report(f"exporting {name} for this and later runs")
        arguments = ["covey_export", "all", *_EXPORTS[name], "--no-report", "--restart"]
        if name in _ON_PHOTOGRAPHS:
            data = work / "photographs"
            if not data.is_dir():
                photographs.write_folder(data, _CLASSES, _IMAGES_PER_CLASS)
            arguments += ["--dataset", f"folder:{data}"]
        arguments += ["--models", str(self._folder), "--checkpoints", str(work / "checkpoints")]
        run_tool(arguments, work / "export.log")
