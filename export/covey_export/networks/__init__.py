"""The networks, one module each, and what Covey knows of every one of them."""

from __future__ import annotations

from covey_export.networks.registry import NETWORKS, Network, Output, find_network, require_fit

__all__ = ["NETWORKS", "Network", "Output", "find_network", "require_fit"]
