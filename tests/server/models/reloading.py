"""A models folder of small text files, for tests of what is loaded when: a file's text is the model."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from covey_proto.v1.classifier_pb2 import ImageSpec, ModelInfo
from covey_server.errors import RefusedModel
from covey_server.inference.served_model import ServedModel
from covey_server.models.catalog import RefusedVersion
from covey_server.models.repository import Repository
from covey_server.models.version_policy import VersionPolicy


class TextModel(ServedModel):
    """A model that is a text, without an engine. "bad ..." is refused by `TextFolder.load`."""

    def __init__(self, name: str, version: int, text: str) -> None:
        self.name = name
        self.version = version
        self.text = text
        words = text.split()
        self.labels = tuple(word for word in words if word.startswith("label-"))
        self.input_shape = (int(words[1]), 4, 1) if len(words) > 1 and words[1].isdecimal() else (4, 4, 1)
        height, width, channels = self.input_shape
        self.info = ModelInfo(labels=self.labels, input=ImageSpec(height=height, width=width, channels=channels))


class Record:
    """Remembers what a repository tells, as sentences."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def model_loaded(self, model: ServedModel, load_s: float) -> None:
        assert load_s >= 0
        self.events.append(f"loaded {text_of(model)}")

    def model_refused(self, refusal: RefusedVersion) -> None:
        self.events.append(f"refused {refusal.name}/{refusal.version} {refusal.reason}")

    def model_unloaded(self, name: str, version: int) -> None:
        self.events.append(f"unloaded {name}/{version}")

    def model_retired(self, name: str, version: int) -> None:
        self.events.append(f"retired {name}/{version}")

    def take(self) -> list[str]:
        """What was told since this was last asked."""
        told, self.events = self.events, []
        return told


class TextFolder:
    """A models folder and a repository on it. Every written file gets another time: no test depends on the clock's
    resolution."""

    def __init__(self, folder: Path, policy: str = "latest:1") -> None:
        self.folder = folder
        self.record = Record()
        self.loads: list[str] = []
        self.while_loading: Callable[[], object] = lambda: None
        self.repository = Repository(folder, self.load, VersionPolicy.parse(policy), self.record)
        self._written = 0

    def load(self, name: str, version: int, path: Path) -> TextModel:
        """The `load_model` of the repository."""
        self.loads.append(f"{name}/{version}")
        try:
            text = path.read_text()
        except OSError as error:
            raise RefusedModel(f"cannot be read: {error.strerror}") from error
        model = TextModel(name, version, text)  # in the frame of the error below, as a half-built model is
        if text.startswith("bad"):
            raise RefusedModel(f"it is {model.text[:40].strip()}")
        if text.startswith("broken"):
            raise ZeroDivisionError(model.text)
        self.while_loading()
        return model

    def path(self, name: str, version: int) -> Path:
        return self.folder / name / str(version) / "model.onnx"

    def write(self, name: str, version: int, text: str = "good", mtime_s: int | None = None) -> Path:
        """Writes a model's file; its folders are made."""
        path = self.path(name, version)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        self._written += 1
        seconds = self._written if mtime_s is None else mtime_s
        os.utime(path, ns=(seconds * 10**9, seconds * 10**9))
        return path

    def refresh(self, times: int = 2) -> list[str]:
        """Refreshes; two looks settle everything. What the observer was told."""
        for _ in range(times):
            self.repository.refresh()
        return self.record.take()

    def served(self) -> list[str]:
        return [text_of(model) for model in self.repository.catalog.served]

    def refused(self) -> list[str]:
        return [f"{each.name}/{each.version} {each.reason}" for each in self.repository.catalog.refusals]


def text_of(model: ServedModel) -> str:
    """Its name, its version and its text."""
    assert isinstance(model, TextModel)
    return f"{model.name}/{model.version} {model.text}"
