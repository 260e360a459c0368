"""`covey-server batch --engine ray`, of which one node stops in the middle, to be killed there.

    python -m tests.server.offline.ray_held FOLDER NODE ARGUMENTS...

NODE answers two chunks, whose answers stay in its store, and holds the third: then there is FOLDER/held. The other node
holds its first chunk, which is one of the first two of all, until there is FOLDER/killed. FOLDER gets a file for each
chunk that a node begins.
"""

from __future__ import annotations

import signal
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from covey_server.__main__ import main
from covey_server.offline import ray_worker
from covey_server.offline.answers import Answers


def run(folder: Path, node: str, arguments: list[str]) -> int:
    def classify(*chunk: Any) -> Answers:
        import ray

        from covey_server.offline import ray_worker  # as it is on the node

        here = ray.get_runtime_context().get_node_id()
        (folder / f"{here}-{uuid.uuid4()}").touch()
        if here != node:
            (folder / "other").touch()
            _wait_for(folder / "killed")
            return ray_worker.classify(*chunk)
        _wait_for(folder / "other")
        if len(list(folder.glob(f"{here}-*"))) > 2:
            (folder / "held").touch()
            while True:
                signal.pause()
        return ray_worker.classify(*chunk)

    def _wait_for(path: Path) -> None:
        while not path.exists():
            time.sleep(0.01)

    ray_worker.classify = classify  # type: ignore[assignment]  # a function of __main__, so it travels to the nodes itself
    return main(["batch", *arguments])


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
