"""Training by several processes at once, on torch's own engine: started by torchrun, told by its environment.

Each process takes its share of every batch; DistributedDataParallel averages the gradients, so that all hold the same
weights at every step. The first process alone speaks, writes the checkpoint and measures the accuracy.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")

_STARTED_BY_TORCHRUN = "TORCHELASTIC_RUN_ID"


@dataclass(frozen=True)
class Group:
    """The processes that train together; `rank` is this one's number. A single process is a group too."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def share(self, batch: torch.Tensor) -> torch.Tensor:
        """This process's part of a batch: every `size`-th entry."""
        return batch[self.rank :: self.size]

    def wrap(self, network: nn.Module, device: torch.device) -> nn.Module:
        """Wraps the network for training, so that gradients are averaged over the group."""
        if self.size == 1 or not any(parameter.requires_grad for parameter in network.parameters()):
            return network
        devices = [device] if device.type == "cuda" else None
        return DistributedDataParallel(network, device_ids=devices)

    def agree(self, value: T) -> T:
        """The first process's value, in all processes. It must be made of plain values and tensors."""
        if self.size == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0)
        return values[0]

    def total(self, *values: float) -> list[float]:
        """The sum of each value over the group."""
        if self.size == 1:
            return list(values)
        device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
        summed = torch.tensor(values, dtype=torch.float64, device=device)
        distributed.all_reduce(summed)
        return [float(value) for value in summed]


ALONE = Group()


@contextmanager
def joined(device: torch.device) -> Iterator[Group]:
    """The group torchrun started this process in; without torchrun this process alone."""
    if processes() == 1:
        yield ALONE
        return
    if device.type == "cuda":  # what goes between processes travels through the current GPU (never ran here)
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Group(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()


def is_first_process() -> bool:
    """Whether this process is the one that prints, known before the group is joined."""
    return int(os.environ.get("RANK", "0")) == 0 if _STARTED_BY_TORCHRUN in os.environ else True


def processes() -> int:
    """How many processes torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1")) if _STARTED_BY_TORCHRUN in os.environ else 1


def is_first_on_this_machine() -> bool:
    """Whether this process is the one that prints this machine's errors."""
    return place_on_this_machine() == 0


def place_on_this_machine() -> int:
    """The number of this process among those of the machine, and so of its device."""
    return int(os.environ.get("LOCAL_RANK", "0")) if _STARTED_BY_TORCHRUN in os.environ else 0
