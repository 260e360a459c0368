"""Classifies chunks of encoded images, by the same decoder and engine as the server. Knows neither source nor rows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covey_proto.image_formats import Format
from covey_server.batching.output import NOT_FINITE, Output
from covey_server.errors import EngineFailed, ImageTooLarge, InvalidImage, Stopping
from covey_server.images.decode_budget import DecodeBudget
from covey_server.images.decoder import Decoder
from covey_server.inference import golden
from covey_server.inference.devices import Device
from covey_server.inference.engine import Engine
from covey_server.inference.model_file import Description, describe
from covey_server.inference.served_model import ServedModel
from covey_server.offline.answers import Answers, ClassifyOptions, Facts, Failure
from covey_server.offline.sources.source import Missing
from covey_server.protocols.classifier.given_labels import given
from covey_server.system.regular_files import read_regular


@dataclass(frozen=True)
class Settings:
    """The settings of a worker; `decode_bytes` is for all `threads` of one process together."""

    model: Path
    device: Device
    formats: tuple[Format, ...]
    max_image_pixels: int
    max_image_bytes: int
    decode_bytes: int
    threads: int
    batch_size: int  # 0: as many images as pay


class Worker:
    """Classifies chunks, used by all threads of one process. The first call that needs the model loads it."""

    def __init__(self, settings: Settings, is_stopping: Callable[[], bool]) -> None:
        """Once `is_stopping` is true, chunks are given up between two batches."""
        self._settings = settings
        self._is_stopping = is_stopping
        self._decoder = Decoder(
            settings.max_image_pixels, DecodeBudget(settings.decode_bytes, settings.threads), settings.formats
        )
        self._loading = threading.Lock()
        self._loaded: _Model | None = None

    def facts(self) -> Facts:
        """Loads the model as a server does, and measures it. Raises RefusedModel, EngineFailed, DeviceUnavailable."""
        settings = self._settings
        with self._loading:
            served = ServedModel("", 0, Engine(settings.model, settings.device), settings.batch_size)
            self._loaded = _Model.of(served)
        cost = served.cost
        size = settings.batch_size or cost.best_batch_size
        return Facts(
            served.labels,
            size,
            cost.predict(size) / size / 1e6,
            served.thresholds is not None,
            served.known_from is not None,
            settings.device.name,
            served.golden_difference,
        )

    def load(self) -> None:
        """Loads and checks the model, so that the first chunk need not wait for it. Raises as `facts`."""
        self._model()

    def classify(self, images: Sequence[bytes | str | Missing], options: ClassifyOptions, batch_size: int) -> Answers:
        """The answers for images, given as encoded bytes or as paths of files. Raises EngineFailed if the model cannot
        compute even what it computed when it was loaded, Stopping."""
        model = self._model()
        spec = model.description.input
        answers = Answers(len(images), options, len(model.description.labels), model.description.known_from is not None)
        rows = memoryview(bytearray(batch_size * spec.nbytes))
        indices: list[int] = []
        for index, image in enumerate(images):
            try:
                data = self._read(image)
                header, needed_bytes = self._decoder.look(data, spec)
                start = len(indices) * spec.nbytes
                self._decoder.decode(
                    rows[start : start + spec.nbytes], header, spec, needed_bytes, self._raise_if_stopping
                )
            except InvalidImage as error:
                answers.failures[index] = Failure("not readable as an image", str(error))
            except ImageTooLarge as error:
                answers.failures[index] = Failure("too large", str(error))
            except OSError as error:
                answers.failures[index] = Failure("missing", f"the image cannot be read: {error.strerror or error}")
            else:
                indices.append(index)
            if len(indices) == batch_size or (indices and index == len(images) - 1):
                self._raise_if_stopping()
                batch = np.frombuffer(rows, np.uint8, len(indices) * spec.nbytes).reshape(-1, *spec.shape)
                model.answer(batch, indices, answers)
                indices = []
        return answers

    def _read(self, image: bytes | str | Missing) -> bytes:
        if isinstance(image, bytes):
            return image
        if isinstance(image, Missing):
            raise OSError(image.message)
        return read_regular(image, self._settings.max_image_bytes)

    def _raise_if_stopping(self) -> None:
        if self._is_stopping():
            raise Stopping("it was stopped")

    def _model(self) -> _Model:
        with self._loading:
            if self._loaded is None:
                engine = Engine(self._settings.model, self._settings.device)
                description = describe(engine)
                golden.check(engine, description.golden)
                self._loaded = _Model(engine.run, description)
            return self._loaded


class _Model:
    """The function that runs the model, and the description in its file."""

    def __init__(self, run: Callable[[NDArray[np.uint8]], NDArray[np.float32]], description: Description) -> None:
        self.description = description
        self._run = run
        self._golden_image = description.golden.pixels[:1].copy()

    @classmethod
    def of(cls, served: ServedModel) -> _Model:
        """A measured model, which on CUDA fills up batches to the measured sizes."""
        return cls(served.run, describe(served.engine))

    def answer(self, images: NDArray[np.uint8], indices: Sequence[int], answers: Answers) -> None:
        """Enters the answers for these images. An image that the model fails on fails alone, as in the server."""
        try:
            probabilities = self._run(images)
        except EngineFailed as error:
            if len(images) > 1:
                for row, index in enumerate(indices):
                    self.answer(images[row : row + 1], [index], answers)
                return
            self._run(self._golden_image)  # if the model fails on this too, the image is not the reason
            answers.failures[indices[0]] = Failure("computation failed", str(error))
            return
        self._store(probabilities, np.array(indices), answers)

    def _store(self, model_output: NDArray[np.float32], indices: NDArray[np.int64], answers: Answers) -> None:
        output = Output(model_output)
        k = answers.classes.shape[1]
        if self.description.thresholds is not None:
            classes, probabilities, counts = given(model_output, self.description.thresholds, k)
            starts = np.repeat(np.cumsum(counts) - counts, counts)
            rows, ranks = np.repeat(indices, counts), np.arange(len(classes)) - starts
            answers.classes[rows, ranks] = classes
            answers.probabilities[rows, ranks] = probabilities
        else:
            answers.classes[indices], answers.probabilities[indices] = output.top(k, 0, len(model_output))
            if answers.known is not None:
                answers.known[indices] = answers.probabilities[indices, 0] >= self.description.known_from
        if answers.distributions is not None:
            answers.distributions[indices] = model_output
        if output.finite is not None:
            for index in indices[~output.finite]:
                answers.failures[int(index)] = Failure("no finite answer", NOT_FINITE)
