"""Keeps what gRPC's core writes to the standard error out of programs that use covey.

It tells there of each connection that fails or ends, each handshake and each fork; covey's own errors say what matters
of it. Takes effect where this is imported before grpc; GRPC_VERBOSITY=INFO, or another level, shows it again.
"""

import os

os.environ.setdefault("GRPC_VERBOSITY", "NONE")
