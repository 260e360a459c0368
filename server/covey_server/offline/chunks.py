"""Consecutive images of a source, as many as go to a worker at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from covey_server.offline.answers import Facts
from covey_server.offline.sources.source import Entry, Missing

_CHUNK_IMAGES, _CHUNK_BYTES, _CHUNK_MS = 256, 8 << 20, 1000.0  # at most, but a batch at least

Image: TypeAlias = bytes | str | Missing


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive images of the source."""

    keys: list[str]
    images: list[Image]


def chunk_images(facts: Facts, part_images: int = _CHUNK_IMAGES) -> int:
    """The number of images of a chunk: whole batches, no more than a part has, and about a second of computing at most,
    so that neither Ctrl-C nor chunks in the queue wait for long."""
    batches = min(_CHUNK_IMAGES, part_images, _CHUNK_MS / max(1e-6, facts.image_ms)) // facts.batch_size
    return facts.batch_size * max(1, int(batches))


def chunked(entries: Iterable[Entry], images: int) -> Iterator[Chunk]:
    """The entries in chunks of so many images, of fewer where they are large."""
    chunk, size_bytes = Chunk([], []), 0
    for key, image in entries:
        chunk.keys.append(key)
        chunk.images.append(image)
        size_bytes += len(image) if isinstance(image, bytes) else 0
        if len(chunk.keys) == images or size_bytes >= _CHUNK_BYTES:
            yield chunk
            chunk, size_bytes = Chunk([], []), 0
    if chunk.keys:
        yield chunk
