"""`python -m tests.gpu.hog INDEX`: takes the memory of a CUDA device, says how much, and holds it until its standard
input ends. A process of its own, since onnxruntime keeps memory that was freed."""

from __future__ import annotations

import sys

import numpy as np
import onnxruntime

_PIECE_BYTES = 256 << 20


def main() -> None:
    """Takes pieces until there are none."""
    held = []
    try:
        while True:
            held.append(
                onnxruntime.OrtValue.ortvalue_from_shape_and_type([_PIECE_BYTES], np.uint8, "cuda", int(sys.argv[1]))
            )
    except Exception as error:  # noqa: BLE001 - there is no more, however this build of onnxruntime says so
        print(f"holds {len(held) * _PIECE_BYTES >> 20} MiB, then: {str(error).splitlines()[0]}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
