"""The networks, one module each, and what Covey knows of every one of them."""

from __future__ import annotations

from covey_export.networks.network import ImageShape, Network, Output, Task, size
from covey_export.networks.registry import NETWORKS, find_network

__all__ = ["NETWORKS", "ImageShape", "Network", "Output", "Task", "find_network", "size"]
