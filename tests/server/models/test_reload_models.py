"""Real models that are replaced while they are asked: right answers throughout, and the old sessions are freed."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import WriteModel

from covey_server.inference.devices import CPU
from covey_server.inference.model_loader import ModelLoader
from covey_server.inference.served_model import ServedModel
from covey_server.models.catalog import RefusedVersion
from covey_server.models.repository import Repository
from covey_server.models.version_policy import VersionPolicy
from covey_server.protocols.classifier.responses import ResponseWriter
from covey_server.protocols.open_inference.outputs import OutputWriter

IMAGES = np.arange(32, dtype=np.uint8).reshape(2, 4, 4, 1)
ANSWERS = IMAGES.reshape(2, 16)[:, :10].astype(np.float32) * np.float32(1 / 255)


class Sessions:
    """Loads models and follows their sessions by weak references; remembers which were retired."""

    def __init__(self) -> None:
        self._load = ModelLoader(CPU, 1, 4, (ResponseWriter.of, OutputWriter.of))  # as a server's
        self.models: list[weakref.ref[ServedModel]] = []
        self.sessions: list[weakref.ref[object]] = []
        self.retired: list[int] = []

    def __call__(self, name: str, version: int, path: Path) -> ServedModel:
        model = self._load(name, version, path)
        self.models.append(weakref.ref(model))
        self.sessions.append(weakref.ref(model.engine._session))
        return model

    def model_loaded(self, model: ServedModel, load_s: float) -> None:
        pass

    def model_refused(self, refusal: RefusedVersion) -> None:
        pass

    def model_unloaded(self, name: str, version: int) -> None:
        pass

    def model_retired(self, name: str, version: int) -> None:
        self.retired.append(version)

    def alive(self) -> list[bool]:
        """Of each model loaded, whether it or its session is still there."""
        return [
            model() is not None or session() is not None
            for model, session in zip(self.models, self.sessions, strict=True)
        ]


@pytest.fixture
def sessions() -> Iterator[Sessions]:
    """No collector frees what a reference cycle keeps: sessions have to go by themselves."""
    gc.disable()
    yield Sessions()
    gc.enable()


def open_repository(folder: Path, sessions: Sessions) -> Repository:
    repository = Repository(folder, sessions, VersionPolicy(), sessions)
    repository.load()
    return repository


def refresh(repository: Repository) -> None:
    repository.refresh()
    repository.refresh()


def test_the_last_answer_frees_the_session(tmp_path: Path, write_echo_model: WriteModel, sessions: Sessions) -> None:
    write_echo_model(tmp_path, version=1)
    repository = open_repository(tmp_path, sessions)
    request = repository.catalog.find("", 0)
    write_echo_model(tmp_path, version=2)
    refresh(repository)
    assert repository.catalog.find("", 0).version == 2
    assert sessions.alive() == [True, True], "a request still holds version 1"
    assert np.array_equal(request.run(IMAGES), ANSWERS)
    refresh(repository)
    assert sessions.retired == []
    del request
    assert sessions.alive() == [False, True]
    assert sessions.retired == [], "told by the next look, not from wherever it was freed"
    repository.refresh()
    assert sessions.retired == [1]


def test_what_is_removed_or_replaced_is_freed(tmp_path: Path, write_echo_model: WriteModel, sessions: Sessions) -> None:
    write_echo_model(tmp_path, "kept")
    gone = write_echo_model(tmp_path, "gone")
    repository = open_repository(tmp_path, sessions)
    gone.unlink()
    write_echo_model(tmp_path, "kept", classes=9)
    refresh(repository)
    assert [len(model.labels) for model in repository.catalog.served] == [9]
    assert sessions.alive() == [False, False, True]
    assert sessions.retired == [1, 1]


def engines_and_sessions() -> list[object]:
    """All that this process has now."""
    return [each for each in gc.get_objects() if type(each).__name__ in ("Engine", "InferenceSession")]


def test_what_is_refused_leaves_nothing_behind(tmp_path: Path, write_echo_model: WriteModel) -> None:
    write_echo_model(tmp_path, version=1)
    engines: list[weakref.ref[object]] = []

    class Watched(Sessions):
        def __call__(self, name: str, version: int, path: Path) -> ServedModel:
            before = {id(each) for each in engines_and_sessions()}
            try:
                return super().__call__(name, version, path)
            finally:
                engines.extend(weakref.ref(each) for each in engines_and_sessions() if id(each) not in before)

    repository = open_repository(tmp_path, Watched())
    engines.clear()
    gc.disable()
    try:
        write_echo_model(tmp_path, version=2, wrong_golden=True)
        refresh(repository)
        assert "golden set: probabilities differ" in repository.catalog.refusals[0].reason
        assert len(engines) == 2, "the engine and its session were there when the model was refused"
        assert [each() for each in engines] == [None, None]
    finally:
        gc.enable()


def test_every_answer_is_right_through_twenty_reloads(
    tmp_path: Path, write_echo_model: WriteModel, sessions: Sessions
) -> None:
    write_echo_model(tmp_path, version=1)
    repository = open_repository(tmp_path, sessions)
    stop = threading.Event()
    wrong: list[object] = []
    met = [threading.Semaphore(0), threading.Semaphore(0)]

    def ask(new_version: threading.Semaphore) -> None:
        newest = 0
        while not stop.is_set():
            try:
                model = repository.catalog.find("echo", 0)
                if not np.array_equal(model.run(IMAGES), ANSWERS) or model.version < newest:
                    wrong.append((model.version, newest))
                if model.version > newest:
                    newest = model.version
                    new_version.release()
                del model
            except Exception as error:  # noqa: BLE001 - whatever it is, the test fails by it
                wrong.append(error)

    callers = [threading.Thread(target=ask, args=(new_version,)) for new_version in met]
    for caller in callers:
        caller.start()
    good = [version for version in range(1, 22) if version % 5]
    try:
        for version in range(1, 22):
            write_echo_model(tmp_path, version=version, wrong_golden=version not in good)
            refresh(repository)
            if version in good:
                assert all(new_version.acquire(timeout=60) for new_version in met)
    finally:
        stop.set()
        for caller in callers:
            caller.join()
    assert wrong == []
    repository.refresh()
    assert sessions.alive() == [False] * 17 + [True], "version 1 was loaded twice"
    assert sorted(sessions.retired) == [1, *good[:-1]]
