"""The names of a model's tensors: in the graph of every file, and in requests of the Open Inference Protocol."""

from __future__ import annotations

IMAGES = "images"  # UINT8 [N, H, W, C]
PROBABILITIES = "probabilities"  # FP32 [N, K]
EMBEDDING = "embedding"  # FP32 [N, D], where the file has it: the vector before the network's last layer
KNOWN = "known"  # BOOL [N, 1], of answers alone, where the model can tell
ENCODED = "encoded"  # BYTES [N], of requests alone: image files in place of IMAGES
