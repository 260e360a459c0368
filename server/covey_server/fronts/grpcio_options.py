"""The channel options of a grpcio server: limits for one connection and one message, and keep-alive."""

from __future__ import annotations

from covey_server.fronts import MAX_METADATA_BYTES

# Open at once on one connection. This limits the damage of resets: 20,000 calls that are reset at once delay others by
# 0.1 s and leave 25 MB (4 s and 230 MB without a limit). A lower limit refuses honest calls, since gRPC still counts
# calls that were just answered: with 256, a client with 250 in flight lost 3 % of its calls, and one with 2,000 a
# quarter or more (2 shared AMD EPYC cores, 2026-11-29).
MAX_CALLS_PER_CONNECTION = 1_024
# What a caller may send of a stream before it is read; a message that is being read may come whole. As on the native
# front. Over a line of 50 ms a stream reaches 74 MB/s with it (2 shared AMD EPYC cores, 2026-11-29).
WINDOW_BYTES = 4 << 20


def server_options(
    max_message_bytes: int, max_calls: int = MAX_CALLS_PER_CONNECTION, *, shares_port: bool = False
) -> list[tuple[str, int]]:
    """For messages of `max_message_bytes` and `max_calls` calls at once on one connection. `shares_port`: with other
    processes of the same server."""
    return [
        ("grpc.so_reuseport", int(shares_port)),  # on by default: then a second server would silently share the port
        # A little more than admission lets in, so that admission refuses, with its message and its count.
        ("grpc.max_receive_message_length", max_message_bytes + 2**20),
        ("grpc.max_send_message_length", -1),
        # No compression: the limit on messages would apply only after 1 MB had become 1 GB.
        ("grpc.compression_enabled_algorithms_bitset", 1),
        ("grpc.max_concurrent_streams", max_calls),
        # A soft and a hard limit, between which some calls are refused; equal, they are one limit.
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
        # Clients may ping as often as they like: by default the third ping within five minutes of silence closes the
        # connection. A ping costs no memory, and less than a call.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_ping_strikes", 0),
        # By default a window grows with bandwidth and delay, to 16 MB and more where the server itself is slow. The
        # guard of connections then took an honest stream for an attack by half-sent messages (1 of 5 runs, 20 MB).
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", WINDOW_BYTES),
    ]
