"""The checks of tests/server/protocols/triton_calls.py over TLS:
`python -m tests.edge.triton_over_tls NAME ADDRESS AUTHORITY`.

In a process of its own, as those are.
"""

from __future__ import annotations

import sys
from functools import partial

import tritonclient.grpc
import tritonclient.grpc.aio
from tests.server.protocols import triton_calls

if __name__ == "__main__":
    secure = {"ssl": True, "root_certificates": sys.argv[3]}
    for module in (tritonclient.grpc, tritonclient.grpc.aio):
        module.InferenceServerClient = partial(module.InferenceServerClient, **secure)
    triton_calls.CHECKS[sys.argv[1]](sys.argv[2])
    print("all as expected")
