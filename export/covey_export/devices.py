"""Which device PyTorch trains on. What serves later is the server's own choice."""

from __future__ import annotations

import torch

from covey_export.errors import DeviceUnavailable
from covey_export.training import distributed
from covey_proto.wording import plural


def choose(wanted: str) -> torch.device:
    """The device for `wanted`, one of option_values.DEVICES; "auto" takes the first of cuda, mps, cpu that is there.

    Raises DeviceUnavailable.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        wanted = next(name for name, is_there in available.items() if is_there)
    if not available[wanted]:
        there = ", ".join(name for name, is_there in available.items() if is_there)
        raise DeviceUnavailable(
            f"--device {wanted}: PyTorch {torch.__version__} does not see one here; there is: {there}"
        )
    return torch.device(wanted, distributed.place_on_this_machine()) if wanted == "cuda" else torch.device(wanted)


def describe(device: torch.device, processes: int = 1) -> str:
    """The device for people, and how many processes share the work."""
    if processes > 1:
        return f"{describe(device)}, {plural(processes, 'process', 'processes')}"
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return f"cpu ({threads} thread{'s' if threads > 1 else ''})"
    return device.type
