"""Images' vectors by a model's file, without a server: decoded and computed in this process, by the server's code (the
extra `cpu` or `gpu`)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covey.errors import CoveyError, InvalidImage, InvalidInput, NotFinite
from covey.similar.embedding import VectorOrError
from covey.similar.models import EmbeddingModel
from covey_proto import layout

_AHEAD = 4  # batches that may be decoded and wait
PixelsOrError = NDArray[np.uint8] | Exception


class FileEmbedder:
    """Embeds by the file of one version."""

    def __init__(self, path: Path) -> None:
        """`path` is that of a model.onnx, or its folder. Raises InvalidInput where it cannot be used."""
        try:
            from covey_server import errors
            from covey_server.config import Config
            from covey_server.images import pixels
            from covey_server.inference.devices import CPU, usable_cores
            from covey_server.inference.engine import Engine
            from covey_server.inference.served_model import ServedModel
            from covey_server.system.regular_files import read_regular
        except ImportError as error:
            raise InvalidInput(
                f"--model-file needs the server's packages ({error.name}): pip install 'covey-serve[cpu]'"
            ) from error
        file = path / layout.FILE_NAME if path.is_dir() else path
        self._threads = usable_cores()
        try:
            self._model = ServedModel("", 0, Engine(file, CPU, self._threads))
        except errors.CoveyServerError as error:
            raise InvalidInput(f"{path} cannot be used: {error}") from error
        if not self._model.embedding_size:
            raise InvalidInput(f"{path} publishes no embedding; convert it with covey convert --embedding")
        self._decode_pixels, self._errors = pixels.decode, errors
        self._read, self._max_bytes = read_regular, Config.max_message_bytes
        info = self._model.info
        self.model = EmbeddingModel(info.name, info.version, self._model.digest, self._model.embedding_size)

    def embed(self, paths: Iterable[Path]) -> Iterator[VectorOrError]:
        """The vector of each image, in order, or why it has none. Raises CoveyError where the model fails."""
        size = self._model.cost.best_batch_size
        with ThreadPoolExecutor(self._threads) as pool:
            waiting: deque[Future[PixelsOrError]] = deque()
            for path in paths:
                waiting.append(pool.submit(self._decode, path))
                if len(waiting) == _AHEAD * size:
                    yield from self._run([waiting.popleft().result() for _ in range(size)])
            while waiting:
                yield from self._run([waiting.popleft().result() for _ in range(min(size, len(waiting)))])

    def _run(self, images: list[PixelsOrError]) -> Iterator[VectorOrError]:
        decoded = [image for image in images if not isinstance(image, Exception)]
        vectors: Iterator[NDArray[np.float32]] = iter(())
        try:
            if decoded:
                vectors = iter(self._model.run_with_embedding(np.stack(decoded))[1])
        except self._errors.EngineFailed as error:
            raise CoveyError(str(error)) from error
        for image in images:
            if isinstance(image, Exception):
                yield image
                continue
            vector = next(vectors)
            yield vector if np.isfinite(vector).all() else NotFinite("its embedding is not finite")

    def _decode(self, path: Path) -> PixelsOrError:
        try:
            return self._decode_pixels(self._read(path, self._max_bytes), self._model.input)
        except (self._errors.InvalidImage, self._errors.ImageTooLarge) as error:
            return InvalidImage(str(error))
        except OSError as error:
            return InvalidImage(f"{path} cannot be read ({error.strerror})")
