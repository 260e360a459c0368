"""Owns what attackers send: ordinary requests, and small files and messages that unfold to large ones."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image

from covey_proto.v1.classifier_pb2 import ClassifyRequest

_MIB = 1 << 20


def message(request: ClassifyRequest) -> bytes:
    """A request as it stands in DATA frames."""
    data = request.SerializeToString()
    return struct.pack(">BI", 0, len(data)) + data


def image_bomb(kind: str, *, lossless: bool = False) -> bytes:
    """A file of 7,070 x 7,070 pixels of one colour."""
    file = io.BytesIO()
    options = {"lossless": True} if lossless else {}
    Image.new("RGBA", (7070, 7070), (10, 20, 30, 255)).save(file, kind, **options)
    return file.getvalue()


def gzip_bomb() -> bytes:
    """1 MB of gzip that unfolds to 1 GB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(16 * _MIB)
    return b"".join([*(packer.compress(zeros) for _ in range(64)), packer.flush()])
