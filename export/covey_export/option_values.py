"""The words that options take, apart from the modules that act on them: these import torch, onnx and other packages,
and help and wrong usage must work without."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

Unreadable = Literal["refuse", "skip"]  # what to do about files of a folder that are no whole images
Optimizer = Literal["sgd", "adam", "adamw", "muon", "lion"]
TrainingPrecision = Literal["float32", "bfloat16", "auto"]
Numbers = tuple[float, ...]

UNREADABLE: tuple[Unreadable, ...] = get_args(Unreadable)
OPTIMIZERS: tuple[Optimizer, ...] = get_args(Optimizer)
TRAINING_PRECISIONS: tuple[TrainingPrecision, ...] = get_args(TrainingPrecision)
DEVICES = ("auto", "cuda", "mps", "cpu")
# Of --pixels, by name: mean and deviation of pixels scaled to 0..1.
PIXEL_RANGES: Mapping[str, tuple[Numbers, Numbers]] = {"[0,1]": ((0.0,), (1.0,)), "[-1,1]": ((0.5,), (0.5,))}
LAYOUTS = ("NCHW", "NHWC")
ACTIVATIONS = ("softmax", "sigmoid", "none")
THRESHOLD = 0.5  # of independent labels, where no other is given
