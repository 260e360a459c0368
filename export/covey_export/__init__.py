"""Everything before serving: data sets, networks, training, conversion to ONNX and verification.

The only package of Covey's that imports torch. It may use the server's `images`, `engine`, `model_file` and
`golden` modules, so that a model is verified by the very code that will serve it.
"""

import os

# Read when torch's OpenMP is loaded. By default its threads spin while they wait for each other, which is a
# little faster on idle cores but many times slower as soon as anything else runs (docs/training.md, Threads).
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Since 1.29 onnxruntime's wheels send telemetry unless this is set before they are imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
