"""A Ray cluster of two nodes on this machine, as a process of its own: two raylets, of one CPU each.

    python -m tests.server.offline.ray_cluster

It prints its address, and the id of the node that drivers do not connect to and the process id of its raylet, as JSON.
A line on standard input kills that raylet by SIGKILL; once standard input is closed, the cluster ends with all its
processes. RAY_TMPDIR names the folder for its files.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

NODE = {"num_cpus": 1, "object_store_memory": 80_000_000}
# Results stay in the store of the node that made them until they are asked for, as only large ones do otherwise; a
# process may take its time to start.
HEAD = {
    **NODE,
    "include_dashboard": False,
    "_system_config": {"max_direct_call_object_size": 0, "worker_register_timeout_seconds": 240},
}
_TRIES = 5  # a raylet gives its agents 15 s to start, which is too little while other tests take the cores


def main() -> None:
    from ray.cluster_utils import Cluster

    Path(os.environ["RAY_TMPDIR"], "ray").mkdir(exist_ok=True)
    cluster = Cluster()
    try:
        _add(cluster, HEAD)
        other = _add(cluster, NODE)
        raylet = other.all_processes["raylet"][0].process
        print(json.dumps({"address": cluster.address, "node": other.node_id, "raylet": raylet.pid}), flush=True)
        for _ in sys.stdin:
            raylet.kill()
            raylet.wait()  # as long as it is a zombie, its workers do not notice that it is gone
            print("killed", flush=True)
    finally:
        cluster.shutdown()


def _add(cluster: Any, node: dict[str, Any]) -> Any:  # noqa: ANN401  # Ray has no types for these
    for attempt in range(1, _TRIES + 1):
        try:
            return cluster.add_node(**node)
        except Exception as error:
            if attempt == _TRIES or "timed out during startup" not in str(error):
                raise
    raise AssertionError


if __name__ == "__main__":
    main()
