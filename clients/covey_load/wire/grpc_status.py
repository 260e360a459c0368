"""Owns the reading of a call's status out of its trailers, without an HPACK decoder.

A decoder would have to read every header block of a connection to keep its table, and costs more than all the rest
of a call. Instead the client allows the server no table (SETTINGS_HEADER_TABLE_SIZE 0). Then `grpc-status: 8`, which
is not among HPACK's static headers, can only be written as a literal: plain or Huffman-coded, two known byte strings
(RFC 7541, sections 5.2 and 6.2, appendix B).
"""

from __future__ import annotations

OK = 0
DEADLINE_EXCEEDED = 4
NO_STATUS = -1  # the call ended without one: reset, lost with its connection, or given up by the client

NAMES = {
    NO_STATUS: "none", 0: "OK", 1: "CANCELLED", 2: "UNKNOWN", 3: "INVALID_ARGUMENT", 4: "DEADLINE_EXCEEDED",
    5: "NOT_FOUND", 6: "ALREADY_EXISTS", 7: "PERMISSION_DENIED", 8: "RESOURCE_EXHAUSTED", 9: "FAILED_PRECONDITION",
    10: "ABORTED", 11: "OUT_OF_RANGE", 12: "UNIMPLEMENTED", 13: "INTERNAL", 14: "UNAVAILABLE", 15: "DATA_LOSS",
    16: "UNAUTHENTICATED",
}  # fmt: skip

# The Huffman codes of the characters that "grpc-status" and numbers are made of, as bits.
_HUFFMAN = {
    "-": "010110", "a": "00011", "c": "00100", "g": "100110", "p": "101011", "r": "101100", "s": "01000",
    "t": "01001", "u": "101101", "0": "00000", "1": "00001", "2": "00010", "3": "011001", "4": "011010",
    "5": "011011", "6": "011100", "7": "011101", "8": "011110", "9": "011111",
}  # fmt: skip


def status_name(status: int) -> str:
    """gRPC's name of a code, or `HTTP 503`. A call lost with its connection is UNAVAILABLE, as in gRPC's clients."""
    return "UNAVAILABLE" if status == NO_STATUS else NAMES.get(status, f"HTTP {status}")


def _plain(text: str) -> bytes:
    return bytes((len(text),)) + text.encode("ascii")


def _huffman(text: str) -> bytes:
    bits = "".join(_HUFFMAN[character] for character in text)
    bits += "1" * (-len(bits) % 8)
    octets = int(bits, 2).to_bytes(len(bits) // 8, "big")
    return bytes((0x80 | len(octets),)) + octets


_NAME_STRINGS = (_huffman("grpc-status"), _plain("grpc-status"))
_CODE_OF = {write(str(code)): code for write in (_huffman, _plain) for code in NAMES if code >= 0}


def status_in(block: bytes) -> int:
    """The code in a block of trailers that was written without a table; NO_STATUS where there is none."""
    for name in _NAME_STRINGS:
        place = block.find(name)
        if place >= 0:
            start = place + len(name)
            if start < len(block):
                return _CODE_OF.get(block[start : start + 1 + (block[start] & 0x7F)], NO_STATUS)
    return NO_STATUS
