"""How many images are on their way at once, whatever the source has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.conftest import WriteModel
from tests.server.offline.helpers import CLASSES, png

from covey_proto import image_formats
from covey_server.inference.devices import CPU
from covey_server.offline.answers import ClassifyOptions
from covey_server.offline.chunk_pool import CHUNKS_PER_WORKER
from covey_server.offline.chunks import _CHUNK_BYTES, chunk_images, chunked
from covey_server.offline.sources.source import Entry
from covey_server.offline.worker import Settings
from covey_server.offline.worker_pool import WorkerPool

COUNT, WORKERS = 5_000, 2


class Endless:
    """A source that counts what was taken of it."""

    name = "images"

    def __init__(self, images: list[bytes]) -> None:
        self.total: int | None = None
        self.taken = 0
        self.left_out: Counter[str] = Counter()
        self._images = images

    def survey(self, folder: Path) -> dict[str, Any]:
        return {}

    def entries(self, start: int) -> Iterator[Entry]:
        for number in range(start, COUNT):
            self.taken += 1
            yield Entry(str(number), self._images[number % len(self._images)])

    def fraction(self) -> float | None:
        return None


def test_a_source_is_read_no_faster_than_its_images_are_answered(tmp_path: Path, write_echo_model: WriteModel) -> None:
    model = write_echo_model(tmp_path)
    settings = Settings(model, CPU, image_formats.DEFAULT, 10**6, 10**6, 1 << 28, WORKERS, batch_size=16)
    source = Endless([png(number) for number in range(CLASSES)])
    pool = WorkerPool(settings, WORKERS, "threads", lambda: None)
    try:
        facts = pool.facts()
        size = chunk_images(facts)
        answered = most = 0
        for keys, answers in pool.answers(
            chunked(source.entries(0), size), ClassifyOptions(1, distribution=False), facts.batch_size
        ):
            most = max(most, source.taken - answered)
            assert answers.classes[:, 0].tolist() == [int(key) % CLASSES for key in keys]
            answered += len(keys)
    finally:
        pool.close()
    assert answered == COUNT
    assert size * WORKERS < most <= size * WORKERS * CHUNKS_PER_WORKER


def test_large_images_travel_in_small_chunks() -> None:
    image = bytes(_CHUNK_BYTES // 3)
    sizes = [len(chunk.keys) for chunk in chunked(Endless([image]).entries(COUNT - 10), 256)]
    assert sizes == [4, 4, 2]
